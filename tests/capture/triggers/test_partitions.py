"""A row that moves to another partition of its table is announced as an update."""

import pytest
from django.db import DEFAULT_DB_ALIAS, models, transaction

from pillarbox.capture.triggers.installation import install
from pillarbox.capture.triggers.names import function_name
from pillarbox.models import RIGHTS, NotificationOutbox
from tests.registration import live_model

pytestmark = pytest.mark.django_db

DOC = """
CREATE TABLE doc (id int, day int, folder int, title text, notes json, PRIMARY KEY (id, day))
PARTITION BY LIST (day)
"""
MOVE = "UPDATE doc SET day = 2 WHERE id = 1"
RULE = {
    "is_partitioned": True,
    "streams": (("doc", "id"), ("folder.docs", "folder")),
    "move_columns": ("folder",),
    "image": ("id", "day", "title"),
}
UPDATED = [("doc:1", "UPDATE_DOC", True), ("folder.docs:7", "UPDATE_DOC", False)]
REMADE = [
    ("doc:1", "DELETE_DOC", True),
    ("folder.docs:7", "DELETE_DOC", False),
    ("doc:1", "CREATE_DOC", False),
    ("folder.docs:7", "CREATE_DOC", False),
]


@pytest.fixture
def doc(execute, live):
    """Return a function that makes a table live, with three partitions and three rows in the first one."""

    def doc(**rule):
        execute(DOC)
        for day in (1, 2, 3):
            execute(f"CREATE TABLE doc_{day} PARTITION OF doc FOR VALUES IN ({day})")
        live(**{**RULE, **rule})
        execute("INSERT INTO doc SELECT id, 1, 7, 'a' FROM generate_series(1, 3) AS id")
        NotificationOutbox.objects.all().delete()

    return doc


@pytest.fixture
def moved():
    """Return stream, event and move mark of each row, and empty the outbox."""

    def moved():
        rows = NotificationOutbox.objects.exclude(stream=RIGHTS).order_by("id")
        found = list(rows.values_list("stream", "event", "is_move"))
        NotificationOutbox.objects.all().delete()
        return found

    return moved


class TestMoves:
    def test_is_one_update(self, doc, execute):
        """
        The own stream gets a move, with an image of the row as it is now.
        """
        doc()
        execute(MOVE)
        rows = NotificationOutbox.objects.exclude(stream=RIGHTS).order_by("id")
        assert UPDATED == list(rows.values_list("stream", "event", "is_move"))
        assert [{"id": 1, "day": 2, "title": "a"}] * 2 == [row.image for row in rows]
        assert 1 == len({row.event_id for row in rows})

    def test_with_a_move_to_another_collection(self, doc, execute, moved):
        """
        The old collection gets a DELETE, and the new one a CREATE.
        """
        doc()
        execute("UPDATE doc SET day = 2, folder = 8 WHERE id = 1")
        assert [
            ("doc:1", "UPDATE_DOC", True),
            ("folder.docs:7", "DELETE_DOC", False),
            ("folder.docs:8", "CREATE_DOC", False),
        ] == moved()

    def test_of_many_rows(self, doc, execute, moved):
        """
        Each row of a statement is one update, however often it moves.
        """
        doc()
        for _ in range(2):
            execute("UPDATE doc SET day = day % 3 + 1")
            assert [(f"doc:{pk}", "UPDATE_DOC") for pk in (1, 2, 3)] == [
                row[:2] for row in moved() if row[2]
            ]

    def test_of_a_row_that_the_transaction_has_written(self, doc, execute, moved):
        """
        The same transaction may have inserted, updated or moved the row before, also in savepoints.
        """
        doc()
        with transaction.atomic():
            execute("INSERT INTO doc VALUES (4, 1, 7, 'a')")
            execute("UPDATE doc SET title = 'b' WHERE id = 4")
        moved()
        for day in (2, 3, 1):
            with transaction.atomic():
                execute(f"UPDATE doc SET day = {day} WHERE id = 4")
            assert [("doc:4", "UPDATE_DOC"), ("folder.docs:7", "UPDATE_DOC")] == [
                row[:2] for row in moved()
            ]

    @pytest.mark.parametrize(
        ("before", "after", "expected"),
        [
            (7, 8, ["CREATE_DOC", "DELETE_DOC", "UPDATE_DOC"]),
            (7, -1, ["DELETE_DOC", "DELETE_DOC"]),
            (-1, 7, ["CREATE_DOC", "CREATE_DOC"]),
            (-1, -2, []),
        ],
    )
    def test_of_a_row_with_a_condition(self, doc, execute, moved, before, after, expected):
        """
        A move into the condition of the type is a creation, and one out of it a deletion.
        """
        doc(where='"pillarbox_row"."folder" > 0')
        execute(f"UPDATE doc SET folder = {before} WHERE id = 1")
        moved()
        execute(f"UPDATE doc SET day = 2, folder = {after} WHERE id = 1")
        assert expected == sorted(event for _, event, _ in moved())

    def test_of_columns_that_are_not_compared(self, doc, execute, moved):
        """
        If no compared column changes, nothing is announced.
        """
        doc(compared=("id", "folder", "title"))
        execute(MOVE)
        assert [] == moved()
        execute("UPDATE doc SET day = 3, title = 'b' WHERE id = 1")
        assert UPDATED == moved()

    def test_of_a_part(self, doc, execute, moved):
        """
        An object with rows in several tables is updated, too.
        """
        doc(is_part=True, image=())
        execute(MOVE)
        assert [("doc:1", "UPDATE_DOC", True)] == moved()

    def test_of_a_row_that_an_object_shows(self, doc, execute, moved):
        """
        The object that shows the row is updated.
        """
        doc(object_type="folder", key="folder", streams=(("folder", "folder"),), is_object=False)
        execute(MOVE)
        assert {("folder:7", "UPDATE_FOLDER", False)} == set(moved())


class TestNoMoves:
    """A DELETE and an INSERT of the same key by separate commands stay two."""

    def test_in_two_commands(self, doc, execute, moved):
        """
        Two commands of one transaction are no move.
        """
        doc()
        execute("DELETE FROM doc WHERE id = 1")
        execute("INSERT INTO doc VALUES (1, 2, 7, 'a')")
        assert REMADE == moved()

    def test_after_a_row_that_the_transaction_has_written(self, doc, execute, moved):
        """
        The transaction may have written the row before, any number of times.
        """
        doc()
        execute("INSERT INTO doc VALUES (4, 1, 7, 'a')")
        execute("UPDATE doc SET title = 'b' WHERE id = 4")
        moved()
        execute("DELETE FROM doc WHERE id = 4")
        execute("INSERT INTO doc VALUES (4, 2, 7, 'a')")
        assert [event for _, event, _ in REMADE] == [event for _, event, _ in moved()]

    def test_in_one_function(self, doc, execute, moved):
        """
        Two commands in one function call are no move.
        """
        doc()
        delete, insert = "DELETE FROM doc WHERE id = 1", "INSERT INTO doc VALUES (1, 2, 7, 'a')"
        execute(f"DO $$ BEGIN {delete}; {insert}; END $$")
        assert REMADE == moved()

    def test_a_deletion_that_is_rolled_back(self, doc, execute, moved):
        """
        An INSERT doesn't continue a rolled-back DELETE.
        """
        doc()
        with transaction.atomic():
            execute("DELETE FROM doc WHERE id = 1")
            transaction.set_rollback(True)
        execute("INSERT INTO doc VALUES (1, 2, 7, 'a')")
        assert REMADE[2:] == moved()

    def test_in_the_same_partition(self, doc, execute, moved):
        """
        A DELETE and an INSERT in the same partition are no move.
        """
        doc()
        execute(
            "WITH gone AS (DELETE FROM doc WHERE id = 1 RETURNING id)"
            " INSERT INTO doc SELECT id, 1, 7, 'b' FROM gone"
        )
        assert REMADE == moved()

    def test_of_another_key(self, doc, execute, moved):
        """
        An update of the primary key is a deletion and a creation.
        """
        doc(compared=("folder", "title"))
        execute("UPDATE doc SET id = 4, day = 2 WHERE id = 1")
        assert [("doc:1", "DELETE_DOC", True), ("doc:4", "CREATE_DOC", False)] == [
            row for row in moved() if row[0].startswith("doc:")
        ]


class TestDoubts:
    """If it is uncertain whether a DELETE and an INSERT are one move, they stay two. No write fails."""

    def test_a_row_that_has_no_json(self, doc, execute, moved):
        """
        A row with a NUL in a json column can't be recorded for the INSERT.
        """
        doc()
        execute("""UPDATE doc SET notes = '{"a": "\\u0000"}' WHERE id = 1""")
        moved()
        execute(MOVE)
        assert REMADE == moved()

    @pytest.fixture(params=["a", "z"], ids=["before ours", "after ours"])
    def changed_again(self, request, doc, execute):
        """Return a function that creates a trigger of the project which updates each inserted row."""
        doc()
        body = "BEGIN UPDATE doc SET title = 'b' WHERE id = NEW.id; RETURN NULL; END"
        execute(f"CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$")
        execute(
            f"CREATE TRIGGER {request.param} AFTER INSERT ON doc"
            " FOR EACH ROW EXECUTE FUNCTION change()"
        )

    def test_a_move_of_a_row_that_is_written_again(self, changed_again, execute, moved):
        """
        The last row of each stream shows that the object exists.
        """
        execute(MOVE)
        last = {stream: event for stream, event, _ in moved()}
        assert {"doc:1", "folder.docs:7"} == last.keys()
        assert "DELETE_DOC" not in last.values()

    def test_two_commands_of_a_row_that_is_written_again(self, changed_again, execute, moved):
        """
        The DELETE is announced.
        """
        execute("DELETE FROM doc WHERE id = 1")
        execute("INSERT INTO doc VALUES (1, 2, 7, 'a')")
        assert REMADE[:2] == moved()[:2]


@pytest.mark.django_db(transaction=True)
class TestCommitted:
    @pytest.fixture
    def doc(self, doc, execute):
        """Return a function as above, and drop the table and its function after the test."""
        yield doc
        execute("DROP TABLE doc")
        execute(f"DROP FUNCTION {function_name('public.doc')}()")

    @pytest.mark.parametrize("content", ["nonsense", '{"rows": %s, "partition": 1, "old": %s}'])
    def test_a_forged_setting(self, doc, execute, moved, content):
        """
        A forged setting of the session deletes no row of another transaction.
        """
        doc()
        with transaction.atomic():
            for pk in (3, 2, 1):
                execute("DELETE FROM doc WHERE id = %s", pk)
        rows = list(NotificationOutbox.objects.values_list("id", flat=True))
        setting = f"pillarbox.{function_name('public.doc')}"
        with transaction.atomic():
            values = (rows, '{"id": 1}') if "%" in content else ()
            execute("SELECT set_config(%s, %s, true)", setting, content % values)
            execute("INSERT INTO doc VALUES (1, 2, 7, 'a')")
        assert REMADE == moved()[-4:]

    def test_a_model(self, execute, moved):
        """
        The function of a partitioned model's table detects moves of its rows.
        """
        with live_model(day=models.IntegerField()) as model:
            execute("DROP TABLE library_thing")
            execute(
                "CREATE TABLE library_thing (id bigint GENERATED BY DEFAULT AS IDENTITY, day int,"
                " PRIMARY KEY (id, day)) PARTITION BY LIST (day)"
            )
            for day in (1, 2):
                partition = f"library_thing_{day} PARTITION OF library_thing"
                execute(f"CREATE TABLE {partition} FOR VALUES IN ({day})")
            install(using=DEFAULT_DB_ALIAS)
            thing = model.objects.create(day=1)
            moved()
            thing.day = 2
            thing.save()
            assert [(f"thing:{thing.pk}", "UPDATE_THING", True)] == moved()
