"""A trigger function captures each change of the database, and never makes a write fail."""

import hashlib
import json

import pytest
from django.db import models
from django.db.models import F
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pillarbox.capture.triggers.row_templates import SHARD
from pillarbox.models import OUTBOX, NotificationOutbox, shard_of
from tests.registration import live_model

pytestmark = pytest.mark.django_db

DOC = "CREATE TABLE doc (id bigint PRIMARY KEY, folder bigint, title text, pages int, notes json)"
IN_FOLDER = {"streams": (("doc", "id"), ("folder.docs", "folder"))}
SHOWN = {"key": "folder", "streams": (("folder", "folder"),), "is_object": False}
TRIGGER = "CREATE TRIGGER {name} {when} ON doc FOR EACH ROW EXECUTE FUNCTION change()"


@pytest.fixture
def doc(execute, live, captured):
    """Return a function that makes a table with one row, in a folder, live."""

    def doc(**rule):
        execute(DOC)
        live(**{"image": ("id", "title"), **IN_FOLDER, **rule})
        execute("INSERT INTO doc VALUES (1, 7, 'a', 1, NULL)")
        captured()

    return doc


class TestEvents:
    def test_of_each_operation(self, doc, execute, captured):
        """
        An insert writes CREATE, an update UPDATE, and a deletion DELETE, in each stream of the row.
        """
        doc()
        execute("INSERT INTO doc VALUES (2, 7, 'b')")
        image = {"id": 2, "title": "b"}
        assert [
            ("doc:2", "CREATE_DOC", image),
            ("folder.docs:7", "CREATE_DOC", image),
        ] == captured()
        execute("UPDATE doc SET title = 'c' WHERE id = 2")
        image = {"id": 2, "title": "c"}
        assert [
            ("doc:2", "UPDATE_DOC", image),
            ("folder.docs:7", "UPDATE_DOC", image),
        ] == captured()
        execute("DELETE FROM doc WHERE id = 2")
        assert [("doc:2", "DELETE_DOC", None), ("folder.docs:7", "DELETE_DOC", None)] == captured()

    def test_of_a_move(self, doc, execute):
        """
        The old collection gets a DELETE, the new one a CREATE, and the own stream a move. Rights to the
        object may end.
        """
        doc(move_columns=("folder",))
        execute("UPDATE doc SET folder = 8")
        rows = NotificationOutbox.objects.order_by("id").values_list("stream", "event", "is_move")
        assert [
            ("doc:1", "UPDATE_DOC", True),
            ("folder.docs:7", "DELETE_DOC", False),
            ("folder.docs:8", "CREATE_DOC", False),
            ("rights", "UPDATE_DOC", False),
        ] == list(rows)

    def test_of_a_row_without_owner(self, doc, execute, captured):
        """
        A row without an owner is announced in its own stream only.
        """
        doc()
        execute("UPDATE doc SET folder = NULL")
        assert [("doc:1", "UPDATE_DOC"), ("folder.docs:7", "DELETE_DOC")] == [
            row[:2] for row in captured()
        ]
        execute("DELETE FROM doc")
        assert [("doc:1", "DELETE_DOC", None)] == captured()

    def test_of_another_primary_key(self, doc, execute, captured):
        """
        An update of the primary key is a deletion and a creation.
        """
        doc()
        execute("UPDATE doc SET id = 2")
        assert [
            ("doc:1", "DELETE_DOC", None),
            ("doc:2", "CREATE_DOC", {"id": 2, "title": "a"}),
            ("folder.docs:7", "DELETE_DOC", None),
            ("folder.docs:7", "CREATE_DOC", {"id": 2, "title": "a"}),
        ] == captured()

    def test_of_chosen_verbs(self, doc, execute, captured):
        """
        A rule without CREATE captures no inserts.
        """
        doc(verbs=("DELETE", "UPDATE"))
        execute("INSERT INTO doc VALUES (2)")
        assert [] == captured()
        execute("DELETE FROM doc WHERE id = 2")
        assert [("doc:2", "DELETE_DOC", None)] == captured()

    def test_of_a_secret(self, doc, execute):
        """
        A digest replaces the key, also while a column is missing.
        """
        streams = (("doc", "title"), ("folder.docs", "folder"))
        doc(key="title", streams=streams, image=(), verbs=("DELETE",), is_secret=True)
        execute("INSERT INTO doc SELECT 2, folder, title FROM doc")
        execute("DELETE FROM doc WHERE id = 1")
        execute("ALTER TABLE doc DROP folder")
        execute("DELETE FROM doc")
        a, seven = (hashlib.sha256(text).hexdigest() for text in (b"a", b"7"))
        rows = NotificationOutbox.objects.order_by("id")
        assert [f"doc:{a}", f"folder.docs:{seven}", f"doc:{a}"] == [row.stream for row in rows]
        assert {(a, None, "DELETE_DOC")} == {(r.object_id, r.image, r.event) for r in rows}

    @pytest.mark.parametrize(("minutes", "count"), [(-5, 1), (55, 1), (65, 0)])
    def test_of_an_expired_row(self, doc, execute, captured, minutes, count):
        """
        The deletion of a row that expired more than an hour ago is not captured.
        """
        doc(verbs=("DELETE",), expires="until", streams=(("doc", "id"),))
        execute("ALTER TABLE doc ADD until timestamptz")
        execute("UPDATE doc SET until = now() - make_interval(mins => %s)", minutes)
        execute("DELETE FROM doc")
        assert count == len(captured())

    def test_of_a_row_that_never_expires(self, doc, execute, captured):
        """
        While the column of the expiry is missing, each deletion is captured.
        """
        doc(verbs=("DELETE",), expires="until", streams=(("doc", "id"),))
        execute("DELETE FROM doc")
        assert 1 == len(captured())

    def test_of_a_row_that_an_object_shows(self, doc, execute, captured):
        """
        Each change updates the object that shows the row. If the row moves, it updates both objects.
        """
        doc(
            object_type="folder",
            key="folder",
            streams=(("folder", "folder"),),
            is_object=False,
            is_link=True,
        )
        execute("UPDATE doc SET folder = 8")
        assert [
            ("folder:7", "UPDATE_FOLDER", None),
            ("folder:8", "UPDATE_FOLDER", None),
        ] == captured()
        execute("DELETE FROM doc")
        assert [("folder:8", "UPDATE_FOLDER", None)] == captured()

    def test_share_an_event_id(self, doc, execute):
        """
        All rows of one change of one object have the same event id. Other changes have other ids.
        """
        doc()
        execute("UPDATE doc SET title = title || '!'")
        execute("UPDATE doc SET title = title || '!'")
        ids = NotificationOutbox.objects.order_by("id").values_list("event_id", flat=True)
        assert (ids[0], ids[2]) == (ids[1], ids[3])
        assert ids[0] != ids[2]


class TestWhatCounts:
    def test_nothing_changes(self, doc, execute, captured):
        """
        An update to the same values is not a change.
        """
        doc()
        execute("UPDATE doc SET title = 'a', pages = 1")
        assert [] == captured()

    def test_compared_columns(self, doc, execute, captured):
        """
        If columns are chosen, changes of others don't count.
        """
        doc(compared=("title", "notes"))
        execute("UPDATE doc SET pages = 2")
        assert [] == captured()
        execute("UPDATE doc SET notes = 'null'")
        assert 2 == len(captured())
        execute("UPDATE doc SET notes = NULL")
        assert 2 == len(captured())

    @pytest.mark.parametrize("rule", [{}, SHOWN, {"ends_right": True}])
    def test_without_rows_no_insert_begins(self, doc, execute, rule):
        """
        A function without rows to write begins no INSERT, which would cost half as much as one with rows.
        """
        doc(compared=("title",), **rule)
        execute("SET CONSTRAINTS ALL IMMEDIATE")  # else the table is in use by checks
        execute(f"ALTER TABLE {OUTBOX} RENAME TO away")
        execute("UPDATE doc SET pages = 2")
        assert [(2,)] == execute("SELECT pages FROM doc")

    @pytest.mark.parametrize(("column", "inserts"), [("pages", 1), ("folder", 2)])
    def test_without_an_end_of_a_right_no_second_insert_begins(self, doc, execute, column, inserts):
        """
        A change that ends no right begins no second INSERT.
        """
        doc(move_columns=("folder",))
        execute("CREATE SEQUENCE inserts MINVALUE 0")
        code = "BEGIN PERFORM nextval('public.inserts'); RETURN NULL; END"
        execute(f"CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ {code} $$")
        execute("SET CONSTRAINTS ALL IMMEDIATE")  # else the table is in use by checks
        # Called for each statement, also for one without rows.
        execute(f"CREATE TRIGGER count AFTER INSERT ON {OUTBOX} EXECUTE FUNCTION change()")
        execute(f"UPDATE doc SET {column} = 8")
        assert [(inserts,)] == execute("SELECT nextval('inserts')")

    def test_muted(self, doc, execute, captured):
        """
        A muted transaction captures nothing.
        """
        doc()
        execute("SELECT set_config('pillarbox.muted', 'on', true)")
        execute("DELETE FROM doc")
        assert [] == captured()

    def test_traced(self, doc, execute):
        """
        The mark of a trace is the prefix of the event id.
        """
        doc()
        execute("SELECT set_config('pillarbox.trace', '0193f00d-beef', true)")
        execute("DELETE FROM doc")
        ids = NotificationOutbox.objects.values_list("event_id", flat=True)
        assert {"0193f00d-beef"} == {str(one)[:13] for one in ids}

    @pytest.mark.parametrize("mark", ["", "no mark", "0193f00d-beef-and-more-than-that"])
    def test_a_malformed_trace(self, doc, execute, mark):
        """
        A malformed setting makes no write fail.
        """
        doc()
        execute("SELECT set_config('pillarbox.trace', %s, true)", mark)
        execute("DELETE FROM doc")
        (event_id,) = set(NotificationOutbox.objects.values_list("event_id", flat=True))
        assert not str(event_id).startswith("0193f00d")


class TestMigrations:
    """A migration has changed the table, but not the function."""

    def test_a_compared_column_is_missing(self, doc, execute, captured):
        """
        The write succeeds, and counts as a change.
        """
        doc(compared=("title", "pages"))
        execute("ALTER TABLE doc DROP COLUMN pages")
        execute("UPDATE doc SET notes = '1'")
        assert [("doc:1", "UPDATE_DOC"), ("folder.docs:7", "UPDATE_DOC")] == [
            row[:2] for row in captured()
        ]

    @pytest.mark.parametrize("by_row", [False, True])
    def test_nothing_changes(self, doc, execute, captured, by_row):
        """
        An update to the same values is still not a change.
        """
        doc(compared=("title", "pages"), by_row=by_row)
        execute("ALTER TABLE doc DROP COLUMN pages")
        execute("UPDATE doc SET title = title")
        assert [] == captured()

    def test_a_column_of_the_image_is_missing(self, doc, execute, captured):
        """
        The rows have no image.
        """
        doc()
        execute("ALTER TABLE doc RENAME COLUMN title TO heading")
        execute("UPDATE doc SET heading = 'b'")
        assert [None, None] == [image for *_, image in captured()]

    def test_a_column_of_a_collection_is_missing(self, doc, execute, captured):
        """
        The object's own stream still gets its row.
        """
        doc(move_columns=("folder",))
        execute("ALTER TABLE doc DROP COLUMN folder")
        execute("UPDATE doc SET title = 'b'")
        execute("DELETE FROM doc")
        assert [("doc:1", "UPDATE_DOC"), ("doc:1", "DELETE_DOC")] == [row[:2] for row in captured()]

    def test_the_key_is_missing(self, doc, execute, captured):
        """
        The write succeeds, without a row.
        """
        doc()
        execute("ALTER TABLE doc RENAME COLUMN id TO number")
        execute("UPDATE doc SET title = 'b'")
        assert [] == captured()

    @pytest.mark.parametrize(
        "migration", ["RENAME TO letter", "RENAME COLUMN folder TO binder", "DROP COLUMN folder"]
    )
    def test_a_trigger_writes_the_row_again(self, doc, execute, captured, migration):
        """
        A trigger of the project may write a row whose table or column was renamed.
        """
        doc(move_columns=("folder",))
        table = "letter" if migration == "RENAME TO letter" else "doc"
        execute(f"ALTER TABLE doc {migration}")
        again = f"UPDATE {table} SET title = title || '!' WHERE id = NEW.id"
        code = f"BEGIN IF pg_trigger_depth() = 1 THEN {again}; END IF; RETURN NEW; END"
        execute(f"CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ {code} $$")
        execute(TRIGGER.format(name="a", when="AFTER UPDATE").replace(" ON doc", f" ON {table}"))
        execute(f"UPDATE {table} SET title = 'b'")
        rows = [(event, image) for stream, event, image in captured() if stream == "doc:1"]
        assert [("UPDATE_DOC", None)] == rows[1:]

    def test_another_type(self, doc, execute, captured):
        """
        After a column has changed its type, the image has its new value, or there is no image.
        """
        doc()
        execute("ALTER TABLE doc ALTER COLUMN title TYPE int USING 5")
        execute("UPDATE doc SET title = 6")
        assert captured()[0][2] in (None, {"id": 1, "title": 6})


class TestOtherTriggers:
    """The table also has triggers of the project."""

    @pytest.fixture
    def change(self, execute):
        """Return a function that creates a trigger."""

        def change(body, name="a", when="AFTER UPDATE"):
            code = f"BEGIN IF pg_trigger_depth() = 1 THEN {body}; END IF; RETURN NEW; END"
            execute(f"CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ {code} $$")
            execute(TRIGGER.format(name=name, when=when))

        return change

    def test_before(self, doc, change, execute, captured):
        """
        The image has the values that a BEFORE trigger has changed.
        """
        doc()
        change("NEW.title := upper(NEW.title)", when="BEFORE UPDATE")
        execute("UPDATE doc SET title = 'b'")
        assert {"id": 1, "title": "B"} == captured()[0][2]

    @pytest.mark.parametrize("name", ["a", "z"], ids=["before ours", "after ours"])
    def test_that_write_the_row_again(self, doc, change, execute, captured, name):
        """
        The last row of each stream has the last image, or no image and is rendered from the current object.
        """
        doc()
        change("UPDATE doc SET title = title || '!' WHERE id = NEW.id", name=name)
        execute("UPDATE doc SET title = 'b'")
        last = {stream: image for stream, _, image in captured()}
        assert set(map(str, last.values())) <= {"None", str({"id": 1, "title": "b!"})}

    @pytest.mark.parametrize("name", ["a", "z"], ids=["before ours", "after ours"])
    @pytest.mark.parametrize("folder", [7, 8, 9])
    def test_that_move_the_row(self, doc, change, execute, captured, name, folder):
        """
        The last row of the final collection is not a DELETE, and that of every other collection is.
        """
        doc()
        change(f"UPDATE doc SET folder = {folder} WHERE id = NEW.id", name=name)
        execute("UPDATE doc SET folder = 8")
        last = {stream: event for stream, event, _ in captured() if stream.startswith("folder")}
        there = [stream for stream, event in last.items() if event != "DELETE_DOC"]
        assert [f"folder.docs:{folder}"] == there or (
            folder == 7 and there in ([], ["folder.docs:7"])
        )
        assert "DELETE_DOC" != last.get(f"folder.docs:{folder}")

    @pytest.mark.parametrize("by_row", [False, True])
    @pytest.mark.parametrize("folder", [7, 8])
    def test_that_write_an_inserted_row_again(self, doc, change, execute, captured, folder, by_row):
        """
        The row is announced as created, in the streams where it is at the end.
        """
        doc(by_row=by_row)
        again = f"UPDATE doc SET title = 'c', folder = {folder} WHERE id = NEW.id"
        change(again, when="AFTER INSERT")
        execute("INSERT INTO doc VALUES (2, 7, 'b')")
        last = {stream: event for stream, event, _ in captured()}
        assert ["CREATE_DOC"] * 2 == [last["doc:2"], last[f"folder.docs:{folder}"]]
        assert folder == 7 or "DELETE_DOC" == last["folder.docs:7"]

    def test_that_write_other_rows(self, execute, captured):
        """
        Rows are announced as usual after a trigger has written a live row, also those with virtual columns.
        """
        twice = models.GeneratedField(
            expression=F("pages") * 2, output_field=models.IntegerField(), db_persist=False
        )
        with live_model(pages=models.IntegerField(), twice=twice) as model:
            execute("SELECT set_config('pillarbox.nested', 'on', true)")
            model.objects.create(pages=1)
            model.objects.update(pages=2)
            assert [("CREATE_THING", 1), ("UPDATE_THING", 2)] == [
                (event, image["pages"]) for _, event, image in captured()
            ]
            execute("SET CONSTRAINTS ALL IMMEDIATE")  # else the table is in use by checks

    def test_that_write_rows_with_a_column_called_now(self, execute, captured):
        """
        They are announced with an image, because no name of a column hides the current row.
        """
        with live_model(pages=models.IntegerField(), now=models.TextField(default="")) as model:
            execute("SELECT set_config('pillarbox.nested', 'on', true)")
            model.objects.create(pages=1)
            assert [1] == [image["pages"] for *_, image in captured()]
            execute("SET CONSTRAINTS ALL IMMEDIATE")  # else the table is in use by checks

    def test_that_delete_an_inserted_row(self, doc, change, execute, captured):
        """
        The last row of each stream is a DELETE.
        """
        doc()
        change("DELETE FROM doc WHERE id = NEW.id", when="AFTER INSERT")
        execute("INSERT INTO doc VALUES (2, 7, 'b')")
        last = {stream: event for stream, event, _ in captured()}
        assert {"doc:2": "DELETE_DOC", "folder.docs:7": "DELETE_DOC"} == last

    def test_that_delete_the_row(self, doc, change, execute, captured):
        """
        The last row of each stream is a DELETE.
        """
        doc()
        change("DELETE FROM doc WHERE id = NEW.id")
        execute("UPDATE doc SET title = 'b'")
        last = {stream: event for stream, event, _ in captured()}
        assert {"doc:1": "DELETE_DOC", "folder.docs:7": "DELETE_DOC"} == last

    @pytest.mark.parametrize(
        ("action", "event"), [("CASCADE", "DELETE_DOC"), ("SET NULL", "UPDATE_DOC")]
    )
    def test_of_foreign_keys(self, doc, execute, captured, action, event):
        """
        Cascades of the database are captured.
        """
        doc()
        execute("CREATE TABLE folder (id bigint PRIMARY KEY)")
        execute("INSERT INTO folder VALUES (7)")
        execute(f"ALTER TABLE doc ADD FOREIGN KEY (folder) REFERENCES folder ON DELETE {action}")
        execute("DELETE FROM folder")
        assert [("doc:1", event), ("folder.docs:7", "DELETE_DOC")] == [
            row[:2] for row in captured()
        ]


class TestNames:
    def test_odd_names(self, execute, live, captured):
        """
        Names may have capitals, blanks and quotes, and the schema may be another one than public.
        """
        execute('CREATE SCHEMA "The Docs"')
        table = '"The Docs"."My ""Doc"""'
        execute(f'CREATE TABLE {table} ("the Id" int PRIMARY KEY, "it\'s" text, "Of" int)')
        live(
            table,
            key="the Id",
            streams=(("doc", "the Id"), ("of.docs", "Of")),
            compared=("it's",),
            image=("the Id", "it's"),
            move_columns=("Of",),
        )
        execute(f"INSERT INTO {table} VALUES (1, 'x', 2)")
        execute(f"UPDATE {table} SET \"it's\" = 'y'")
        last = {"the Id": 1, "it's": "y"}
        assert [("doc:1", "UPDATE_DOC", last), ("of.docs:2", "UPDATE_DOC", last)] == captured()[2:]

    def test_keys_are_uuids(self, execute, live, captured):
        """
        A UUID is written as Python writes it.
        """
        execute("CREATE TABLE doc (id uuid PRIMARY KEY)")
        live()
        execute("INSERT INTO doc VALUES ('0193F00DBEEF70008000000000000001')")
        assert "doc:0193f00d-beef-7000-8000-000000000001" == captured()[0][0]

    def test_a_partition(self, execute, live, captured):
        """
        Writes to a partition are captured, also by its own name.
        """
        execute("CREATE TABLE doc (id int, day int, PRIMARY KEY (id, day)) PARTITION BY LIST (day)")
        execute("CREATE TABLE doc_1 PARTITION OF doc FOR VALUES IN (1)")
        live(by_row=True)
        execute("INSERT INTO doc VALUES (1, 1)")
        execute("INSERT INTO doc_1 VALUES (2, 1)")
        execute("CREATE TABLE doc_2 PARTITION OF doc FOR VALUES IN (2)")
        execute("INSERT INTO doc_2 VALUES (3, 2)")
        assert ["doc:1", "doc:2", "doc:3"] == [stream for stream, *_ in captured()]

    @hypothesis_settings(
        max_examples=50,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    @given(stream=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
    def test_shards(self, execute, stream):
        """
        Python and the database compute the same shard for a stream.
        """
        assert [(shard_of(stream),)] == execute(
            f"SELECT {SHARD} FROM (VALUES (%s)) AS s (stream)", stream
        )


class TestImages:
    def test_a_value_that_has_no_image(self, doc, execute, captured):
        """
        A NUL in a json column can't be in an image. The write succeeds, and its rows have no image.
        """
        doc(image=("id", "notes"))
        execute("UPDATE doc SET notes = %s", json.dumps({"a": "\0"}))
        assert [None, None] == [image for *_, image in captured()]
        execute("UPDATE doc SET notes = '2'")
        assert {"id": 1, "notes": 2} == captured()[0][2]

    @pytest.mark.parametrize(
        "setting",
        [
            "DateStyle = 'German'",
            "IntervalStyle = 'sql_standard'",
            "extra_float_digits = -15",
            "TimeZone = 'Europe/Amsterdam'",
            "plpgsql.extra_errors = 'all'",
        ],
    )
    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            ("interval", "-1 day 02:03:04.5"),
            ("float8", "0.1234567890123456"),
            ("timestamptz", "2026-02-03 04:05:06.789012+05:30"),
            (
                "timestamptz",
                "1900-02-03 04:05:06+00",
            ),  # Amsterdam was 19 minutes and 32 seconds off
            ("date", "2026-02-03"),
            ("time", "04:05:06.789012"),
            ("timestamp", "2026-02-03 04:05:06.789012"),
            ("tstzrange", "[2026-02-03 04:05:06+00,2026-03-04 00:00:00+00)"),
            ("numeric", "12345678901234567890.10"),
        ],
    )
    def test_a_session_with_other_settings(self, execute, live, captured, setting, kind, value):
        """
        The value in an image is the same under any settings of the session.
        """
        execute(f"CREATE TABLE doc (id int, value {kind})")
        live(image=("id", "value"))
        literal = f"'{value}'::{kind}"
        execute(f"CREATE TABLE kept AS SELECT {literal} AS value")
        execute(f"SET LOCAL {setting}")
        execute("INSERT INTO doc SELECT 1, value FROM kept")
        execute("RESET ALL")
        read = f"{OUTBOX}, jsonb_populate_record(NULL::doc, image) AS read"
        assert [(True,)] == execute(f"SELECT read.value = kept.value FROM kept, {read}")

    def test_a_writer_without_rights(self, doc, execute, captured):
        """
        A role with rights on the live table only can write to it.
        """
        doc()
        execute("CREATE ROLE stranger")
        execute("GRANT USAGE ON SCHEMA public TO stranger")
        execute("GRANT UPDATE ON doc TO stranger")
        execute("SET LOCAL ROLE stranger")
        execute("UPDATE doc SET title = 'b'")
        execute("RESET ROLE")
        assert 2 == len(captured())
