"""A trigger function writes rows for what the database did, fails no write, and tells no lie."""

import json

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from apps.outbox.models import NotificationOutbox, shard_of
from apps.outbox.triggers.functions import OUTBOX, SHARD

pytestmark = pytest.mark.django_db

DOC = "CREATE TABLE doc (id bigint PRIMARY KEY, folder bigint, title text, pages int, notes json)"
IN_FOLDER = {"streams": (("doc", "id"), ("folder.docs", "folder"))}
TRIGGER = "CREATE TRIGGER {name} {when} ON doc FOR EACH ROW EXECUTE FUNCTION change()"


@pytest.fixture
def doc(execute, live, captured):
    """A live table with one row, in a folder."""

    def doc(**rule):
        execute(DOC)
        live(**{"image": ("id", "title"), **IN_FOLDER, **rule})
        execute("INSERT INTO doc VALUES (1, 7, 'a', 1, NULL)")
        captured()

    return doc


class TestEvents:
    def test_of_each_operation(self, doc, execute, captured):
        """
        An insert writes CREATE, an update UPDATE, a deletion DELETE, on each stream of the row.
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
        The collection that the object left gets a DELETE, the new one a CREATE, the object a move.
        """
        doc(deciding=("folder",))
        execute("UPDATE doc SET folder = 8")
        rows = NotificationOutbox.objects.order_by("id").values_list("stream", "event", "is_move")
        assert [
            ("doc:1", "UPDATE_DOC", True),
            ("folder.docs:7", "DELETE_DOC", False),
            ("folder.docs:8", "CREATE_DOC", False),
        ] == list(rows)

    def test_of_a_row_without_owner(self, doc, execute, captured):
        """
        A row that belongs to nobody's collection is announced on its own stream.
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
        An object whose key is updated is gone, and another one is there.
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
        A rule without CREATE announces no new row.
        """
        doc(verbs=("DELETE", "UPDATE"))
        execute("INSERT INTO doc VALUES (2)")
        assert [] == captured()
        execute("DELETE FROM doc WHERE id = 2")
        assert [("doc:2", "DELETE_DOC", None)] == captured()

    def test_of_a_row_that_an_object_shows(self, doc, execute, captured):
        """
        Whatever happens to the row, the object that shows it is updated; both of them, if it changes hands.
        """
        doc(object_type="folder", key="folder", streams=(("folder", "folder"),), is_object=False)
        execute("UPDATE doc SET folder = 8")
        assert [
            ("folder:7", "UPDATE_FOLDER", None),
            ("folder:8", "UPDATE_FOLDER", None),
        ] == captured()
        execute("DELETE FROM doc")
        assert [("folder:8", "UPDATE_FOLDER", None)] == captured()

    def test_share_an_event_id(self, doc, execute):
        """
        All rows of one change of one object have one event id, another change has another.
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
        An update to the same values is no change.
        """
        doc()
        execute("UPDATE doc SET title = 'a', pages = 1")
        assert [] == captured()

    def test_watched_columns(self, doc, execute, captured):
        """
        With watched columns the others don't count.
        """
        doc(watched=("title", "notes"))
        execute("UPDATE doc SET pages = 2")
        assert [] == captured()
        execute("UPDATE doc SET notes = 'null'")
        assert 2 == len(captured())
        execute("UPDATE doc SET notes = NULL")
        assert 2 == len(captured())

    def test_muted(self, doc, execute, captured):
        """
        A transaction that mutes capture announces nothing.
        """
        doc()
        execute("SELECT set_config('pillarbox.muted', 'on', true)")
        execute("DELETE FROM doc")
        assert [] == captured()

    def test_traced(self, doc, execute):
        """
        The mark of a trace begins the event id.
        """
        doc()
        execute("SELECT set_config('pillarbox.trace', '0193f00d-beef', true)")
        execute("DELETE FROM doc")
        ids = NotificationOutbox.objects.values_list("event_id", flat=True)
        assert {"0193f00d-beef"} == {str(one)[:13] for one in ids}


class TestMigrations:
    """A migration has changed the table, and the function is still the one of before."""

    def test_a_watched_column_is_gone(self, doc, execute, captured):
        """
        The write succeeds, and counts.
        """
        doc(watched=("title", "pages"))
        execute("ALTER TABLE doc DROP COLUMN pages")
        execute("UPDATE doc SET notes = '1'")
        assert [("doc:1", "UPDATE_DOC"), ("folder.docs:7", "UPDATE_DOC")] == [
            row[:2] for row in captured()
        ]

    def test_a_column_of_the_image_is_gone(self, doc, execute, captured):
        """
        The rows have no image.
        """
        doc()
        execute("ALTER TABLE doc RENAME COLUMN title TO heading")
        execute("UPDATE doc SET heading = 'b'")
        assert [None, None] == [image for *_, image in captured()]

    def test_a_column_of_a_collection_is_gone(self, doc, execute, captured):
        """
        The object's own stream is announced on.
        """
        doc(deciding=("folder",))
        execute("ALTER TABLE doc DROP COLUMN folder")
        execute("UPDATE doc SET title = 'b'")
        execute("DELETE FROM doc")
        assert [("doc:1", "UPDATE_DOC"), ("doc:1", "DELETE_DOC")] == [row[:2] for row in captured()]

    def test_the_key_is_gone(self, doc, execute, captured):
        """
        Nothing can be announced, and the write succeeds all the same.
        """
        doc()
        execute("ALTER TABLE doc RENAME COLUMN id TO number")
        execute("UPDATE doc SET title = 'b'")
        assert [] == captured()

    def test_another_type(self, doc, execute, captured):
        """
        A column of another type is in the image as it is now, or the rows have none.
        """
        doc()
        execute("ALTER TABLE doc ALTER COLUMN title TYPE int USING 5")
        execute("UPDATE doc SET title = 6")
        assert captured()[0][2] in (None, {"id": 1, "title": 6})


class TestOtherTriggers:
    """The project has triggers of its own."""

    @pytest.fixture
    def change(self, execute):
        """Make a trigger that does something."""

        def change(body, name="a", when="AFTER UPDATE"):
            code = f"BEGIN IF pg_trigger_depth() = 1 THEN {body}; END IF; RETURN NEW; END"
            execute(f"CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ {code} $$")
            execute(TRIGGER.format(name=name, when=when))

        return change

    def test_before(self, doc, change, execute, captured):
        """
        The image has what a trigger made of the values.
        """
        doc()
        change("NEW.title := upper(NEW.title)", when="BEFORE UPDATE")
        execute("UPDATE doc SET title = 'b'")
        assert {"id": 1, "title": "B"} == captured()[0][2]

    @pytest.mark.parametrize("name", ["a", "z"], ids=["before ours", "after ours"])
    def test_that_write_the_row_again(self, doc, change, execute, captured, name):
        """
        The last row of each stream has the last image, or none, and is rendered as the object is.
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
        Wherever the row ends, the last row of that collection is no DELETE, and of every other one it is.
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
        What the database does to the rows of a deleted owner is announced.
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
        Names may have capitals, blanks, quotes and another schema than public.
        """
        execute('CREATE SCHEMA "The Docs"')
        table = '"The Docs"."My ""Doc"""'
        execute(f'CREATE TABLE {table} ("the Id" int PRIMARY KEY, "it\'s" text, "Of" int)')
        live(
            table,
            key="the Id",
            streams=(("doc", "the Id"), ("of.docs", "Of")),
            watched=("it's",),
            image=("the Id", "it's"),
            deciding=("Of",),
        )
        execute(f"INSERT INTO {table} VALUES (1, 'x', 2)")
        execute(f"UPDATE {table} SET \"it's\" = 'y'")
        last = {"the Id": 1, "it's": "y"}
        assert [("doc:1", "UPDATE_DOC", last), ("of.docs:2", "UPDATE_DOC", last)] == captured()[2:]

    def test_keys_are_uuids(self, execute, live, captured):
        """
        A UUID is named as Python writes it.
        """
        execute("CREATE TABLE doc (id uuid PRIMARY KEY)")
        live()
        execute("INSERT INTO doc VALUES ('0193F00DBEEF70008000000000000001')")
        assert "doc:0193f00d-beef-7000-8000-000000000001" == captured()[0][0]

    def test_a_partition(self, execute, live, captured):
        """
        What is written to a partition, by its own name too, is captured.
        """
        execute("CREATE TABLE doc (id int, day int, PRIMARY KEY (id, day)) PARTITION BY LIST (day)")
        execute("CREATE TABLE doc_1 PARTITION OF doc FOR VALUES IN (1)")
        live()
        execute("INSERT INTO doc VALUES (1, 1)")
        execute("INSERT INTO doc_1 VALUES (2, 1)")
        execute("CREATE TABLE doc_2 PARTITION OF doc FOR VALUES IN (2)")
        execute("INSERT INTO doc_2 VALUES (3, 2)")
        assert ["doc:1", "doc:2", "doc:3"] == [stream for stream, *_ in captured()]

    @hypothesis_settings(
        max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(stream=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
    def test_shards(self, execute, stream):
        """
        Python and the database put a stream into the same shard.
        """
        assert [(shard_of(stream),)] == execute(
            f"SELECT {SHARD} FROM (VALUES (%s)) AS s (stream)", stream
        )


class TestImages:
    def test_a_value_that_has_no_image(self, doc, execute, captured):
        """
        A NUL in a json column can't be in an image: the write succeeds, and the rows have none.
        """
        doc(image=("id", "notes"))
        execute("UPDATE doc SET notes = %s", json.dumps({"a": "\0"}))
        assert [None, None] == [image for *_, image in captured()]
        execute("UPDATE doc SET notes = '2'")
        assert {"id": 1, "notes": 2} == captured()[0][2]

    @pytest.mark.parametrize(
        "setting",
        ["DateStyle = 'German'", "IntervalStyle = 'sql_standard'", "extra_float_digits = -15"],
    )
    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            ("interval", "-1 day 02:03:04.5"),
            ("float8", "0.1234567890123456"),
            ("timestamptz", "2026-02-03 04:05:06.789012+05:30"),
            ("date", "2026-02-03"),
            ("tstzrange", "[2026-02-03 04:05:06+00,2026-03-04 00:00:00+00)"),
            ("numeric", "12345678901234567890.10"),
        ],
    )
    def test_a_session_with_other_settings(self, execute, live, captured, setting, kind, value):
        """
        A value comes back from the image as it was, whatever the session's settings.
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
        A role that may write the table, and has no rights on ours, writes as before.
        """
        doc()
        execute("CREATE ROLE stranger")
        execute("GRANT USAGE ON SCHEMA public TO stranger")
        execute("GRANT UPDATE ON doc TO stranger")
        execute("SET LOCAL ROLE stranger")
        execute("UPDATE doc SET title = 'b'")
        execute("RESET ROLE")
        assert 2 == len(captured())
