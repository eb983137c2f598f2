"""A statement trigger captures the same as a row trigger: streams, events and images, in the same order."""

from collections import defaultdict

import pytest
from django.db import transaction
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pillarbox.capture.triggers.functions import BATCH, LARGE
from pillarbox.models import RIGHTS, NotificationOutbox

pytestmark = pytest.mark.django_db

DOC = """
CREATE TABLE {schema}.folder (id int PRIMARY KEY);
CREATE TABLE {schema}.doc (
    id int PRIMARY KEY, folder int REFERENCES {schema}.folder ON DELETE SET NULL,
    other int REFERENCES {schema}.folder ON DELETE CASCADE, title text, notes json
);
INSERT INTO {schema}.folder SELECT generate_series(1, 4);
INSERT INTO {schema}.doc SELECT id, id % 4 + 1, id % 3 + 1, 'a' FROM generate_series(1, 9) AS id;
"""
RULES = (
    {
        "move_columns": ("folder",),
        "compared": ("id", "folder", "title"),
        "image": ("id", "title", "notes"),
    },
    {"verbs": ("DELETE", "UPDATE"), "streams": (("doc", "id"), ("folder.docs", "other"))},
    {
        "object_type": "folder",
        "key": "folder",
        "streams": (("folder", "folder"),),
        "is_object": False,
    },
)
IN_FOLDER = {"streams": (("doc", "id"), ("folder.docs", "folder"))}
# Folder 2 may be deleted by then.
NOTHING_COUNTS = "UPDATE doc SET title = 'a', other = (SELECT id FROM folder WHERE id = 2)"

keys = st.integers(1, 12)
owners = st.builds("(SELECT id FROM folder WHERE id = {})".format, st.integers(1, 5))
NEW_KEY = "(SELECT max(id) + 1 FROM doc)"
statements = st.one_of(
    st.builds("UPDATE doc SET title = title || 'b' WHERE id > {}".format, keys),
    st.builds("UPDATE doc SET folder = {} WHERE id <= {}".format, owners, keys),
    st.builds(f"UPDATE doc SET id = {NEW_KEY}, folder = {{}} WHERE id = {{}}".format, owners, keys),
    st.builds(
        "UPDATE doc SET notes = '{{\"a\": \"\\u0000\"}}', title = 'c' WHERE id = {}".format, keys
    ),
    st.builds("DELETE FROM doc WHERE id = {}".format, keys),
    st.builds("DELETE FROM folder WHERE id = {}".format, keys),
    st.builds("INSERT INTO doc SELECT {}, min(id) FROM folder ON CONFLICT DO NOTHING".format, keys),
    st.builds(
        "INSERT INTO doc (id, title) SELECT generate_series({}, 12), 'd'"
        " ON CONFLICT (id) DO UPDATE SET title = 'e', folder = NULL".format,
        keys,
    ),
    st.just(
        "WITH gone AS (DELETE FROM doc RETURNING *)"
        f" INSERT INTO doc SELECT id + {NEW_KEY} FROM gone"
    ),
    st.just(NOTHING_COUNTS),
)


@pytest.fixture
def levels(execute, live):
    """Create the same live table twice: with a statement trigger, and with a row trigger."""

    def levels(rule):
        for schema, by_row in (("by_statement", False), ("by_row", True)):
            execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
            execute(f"CREATE SCHEMA {schema}")
            execute(DOC.format(schema=schema))
            live(f"{schema}.doc", by_row=by_row, **{**IN_FOLDER, **rule})

    return levels


@pytest.fixture
def both(execute):
    """Return a function that runs a statement on both tables, and returns what each captures."""

    def both(statement):
        found = []
        for schema in ("by_statement", "by_row"):
            execute(f"SET LOCAL search_path = {schema}, public")
            execute(statement)
            found.append(list(NotificationOutbox.objects.order_by("stream", "id")))
            NotificationOutbox.objects.all().delete()
        return found

    return both


def content(rows):
    return [
        (r.stream, r.event, r.object_id, r.is_move, r.is_everywhere, str(r.image)) for r in rows
    ]


def changes(rows):
    """Return the rows of each change, which share an event id."""
    found = defaultdict(list)
    for row in rows:
        found[row.event_id].append((row.stream, row.event))
    return sorted(found.values())


@hypothesis_settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(rule=st.sampled_from(RULES), chosen=st.lists(statements, min_size=1, max_size=4))
@example(rule=RULES[0], chosen=["DELETE FROM folder WHERE id = 2", NOTHING_COUNTS])
def test_write_the_same(levels, both, rule, chosen):
    """
    All statements are captured alike, also cascades. An object that shows their rows is announced once for
    each statement.
    """
    with transaction.atomic():
        levels(rule)
        for statement in chosen:
            by_statement, by_row = both(statement)
            if rule.get("is_object", True):
                assert content(by_row) == content(by_statement)
                assert changes(by_row) == changes(by_statement)
            else:
                assert set(content(by_row)) == set(content(by_statement))
                assert len(set(content(by_row))) == len(by_statement)


class TestManyRows:
    ROWS = 2 * BATCH + 1

    @pytest.fixture
    def doc(self, execute, live):
        """Return a function that makes a table live with more rows than are written at once."""
        execute("CREATE TABLE doc (id int PRIMARY KEY, folder int, title text)")
        live(**IN_FOLDER, image=("id", "title"), move_columns=("folder",))
        execute("INSERT INTO doc SELECT id, 1, 'a' FROM generate_series(1, %s) AS id", self.ROWS)

    def test_each_has_its_own(self, doc, captured):
        """
        Each row is announced with its own image, in the order of the rows.
        """
        images = ({"id": pk, "title": "a"} for pk in range(1, self.ROWS + 1))
        rows = [
            (stream, "CREATE_DOC", image)
            for image in images
            for stream in (f"doc:{image['id']}", "folder.docs:1")
        ]
        assert rows == captured()

    def test_some_move(self, doc, execute):
        """
        Only the rows that a statement moves are marked.
        """
        NotificationOutbox.objects.all().delete()
        execute("UPDATE doc SET title = 'b', folder = CASE WHEN id % 2 = 0 THEN 2 ELSE folder END")
        rows = NotificationOutbox.objects.exclude(stream=RIGHTS).order_by("id")
        moved = [row for row in rows if row.is_move]
        assert [f"doc:{pk}" for pk in range(2, self.ROWS, 2)] == [row.stream for row in moved]
        assert {True} == {row.image["id"] % 2 == 0 for row in moved}
        count = self.ROWS // 2 * 3 + (self.ROWS - self.ROWS // 2) * 2  # a move has a DELETE as well
        assert count == len(rows)
        assert self.ROWS // 2 == NotificationOutbox.objects.filter(stream=RIGHTS).count()

    def test_of_large_rows(self, doc, execute, captured):
        """
        Images that are too large to be collected are written in order, too.
        """
        captured()
        execute("UPDATE doc SET title = repeat('b', %s * (id %% 2)) WHERE id <= 4", LARGE + 1)
        sizes = [len(image["title"]) for stream, _, image in captured() if stream[:3] == "doc"]
        assert [LARGE + 1, 0, LARGE + 1, 0] == sizes

    def test_of_a_wide_table(self, execute, live, captured):
        """
        An image may have more columns than a function call has arguments.
        """
        columns = [f"column_{number}" for number in range(120)]
        execute(f"CREATE TABLE doc (id int PRIMARY KEY, {', '.join(f'{c} int' for c in columns)})")
        live(image=("id", *columns))
        execute("INSERT INTO doc (id, column_0, column_119) VALUES (1, 2, 3)")
        image = {**dict.fromkeys(columns), "id": 1, "column_0": 2, "column_119": 3}
        assert [("doc:1", "CREATE_DOC", image)] == captured()

    def test_leave_no_cursor(self, doc, execute):
        """
        A transaction with many statements doesn't run out of cursors.
        """
        execute("UPDATE doc SET title = 'b'")
        assert [] == execute("SELECT name FROM pg_cursors WHERE statement !~ 'pg_cursors'")

    def test_are_shown_by_one_object(self, execute, live, captured):
        """
        A statement that adds many rows and one that removes them announce the object that shows them twice.
        """
        execute("CREATE TABLE doc (id int PRIMARY KEY, folder int)")
        live(
            object_type="folder",
            key="folder",
            streams=(("folder", "folder"),),
            is_object=False,
            is_link=True,
        )
        execute("INSERT INTO doc SELECT id, 7 FROM generate_series(1, 100) AS id")
        execute("DELETE FROM doc")
        assert [("folder:7", "UPDATE_FOLDER", None)] * 2 == captured()
