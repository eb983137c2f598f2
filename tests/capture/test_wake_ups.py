"""Wake-ups: one is requested for each transaction that wrote to a live table."""

from threading import Thread

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import DEFAULT_DB_ALIAS, connection, transaction

from pillarbox.capture.wake_ups import wake_up_on_commit
from tests.library.models import Item, Tag

pytestmark = pytest.mark.django_db(transaction=True)
USING = DEFAULT_DB_ALIAS
requested: list[str] = []


def request(using):
    """Record the wake-up."""
    requested.append(using)


def fail(using):
    """Raise an error instead of requesting a wake-up."""
    raise ConnectionError


@pytest.fixture(autouse=True)
def wake_up(settings):
    settings.PILLARBOX = settings.PILLARBOX | {"WAKE_UP": "tests.capture.test_wake_ups.request"}
    requested.clear()


def test_at_once_without_a_transaction():
    """
    In autocommit the wake-up is requested at once.
    """
    wake_up_on_commit(USING)
    assert [USING] == requested


def test_once_after_the_commit():
    """
    For any number of rows there is one request, after the commit.
    """
    with transaction.atomic():
        wake_up_on_commit(USING)
        with transaction.atomic():
            wake_up_on_commit(USING)
        wake_up_on_commit(USING)
        assert [] == requested
    assert [USING] == requested


def test_once_with_other_callbacks():
    """
    Other commit callbacks of the transaction make no difference.
    """
    with transaction.atomic():
        wake_up_on_commit(USING)
        transaction.on_commit(lambda: requested.append("other"))
        wake_up_on_commit(USING)
    assert [USING, "other"] == requested


def test_a_rolled_back_savepoint_drops_its_own_only():
    """
    Requests made outside a rolled-back savepoint are kept.
    """
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            wake_up_on_commit(USING)
            raise ZeroDivisionError
        wake_up_on_commit(USING)
    assert [USING] == requested


def test_not_after_a_rollback():
    """
    A rolled-back change requests no wake-up.
    """
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        wake_up_on_commit(USING)
        raise ZeroDivisionError
    assert [] == requested


def test_an_error_is_not_the_writers(settings):
    """
    A failed request fails neither the committed change nor other commit callbacks.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"WAKE_UP": "tests.capture.test_wake_ups.fail"}
    with transaction.atomic():
        wake_up_on_commit(USING)
        transaction.on_commit(lambda: requested.append("later"))
    assert ["later"] == requested


def test_may_be_switched_off(settings):
    """
    Without a path the sweep finds the rows.
    """
    settings.PILLARBOX = {"WAKE_UP": ""}
    wake_up_on_commit(USING)
    assert [] == requested


WRITES = [
    "INSERT INTO library_item (title, count, price, notes) VALUES ('a', 0, 0, '{}')",
    'update "public"."library_item" set count = 1',
    "UPDATE ONLY public.library_item SET count = 1",
    "DELETE FROM library_item_tags",
    "UPDATE library_tag SET name = 'x'",
    "MERGE INTO library_item USING (VALUES (1)) AS given (id) ON library_item.id = given.id"
    " WHEN MATCHED THEN DELETE",
]


class TestNoticed:
    """Statements on Django's connection."""

    @pytest.mark.parametrize("sql", WRITES)
    def test_a_write_to_a_live_table(self, execute, sql):
        """
        It requests a wake-up, in autocommit and in a transaction.
        """
        execute(sql)
        assert [USING] == requested
        with transaction.atomic():
            execute(sql)
            execute(sql)
            assert [USING] == requested
        assert [USING] * 2 == requested

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT 1",
            "UPDATE django_content_type SET model = 'x' WHERE id = 0",
            "SELECT count(*) FROM library_item",
        ],
    )
    def test_nothing_else(self, execute, sql):
        """
        Reads, and writes to other tables, request no wake-up.
        """
        execute(sql)
        ContentType.objects.filter(pk=0).update(model="a")
        assert [] == requested

    def test_a_table_of_which_only_deletions_are_announced(self, execute):
        """
        Saves of such a table request none, since sessions are saved all the time.
        """
        execute("INSERT INTO django_session VALUES ('key', '', now())")
        execute("UPDATE django_session SET session_data = 'more'")
        assert [] == requested
        execute("DELETE FROM django_session")
        assert [USING] == requested

    def test_composed_sql(self):
        """
        Composed SQL isn't text, and is left to the sweep.
        """
        with connection.cursor() as cursor:
            cursor.execute(b"UPDATE library_item SET count = 1")
        assert [] == requested

    def test_a_block_with_a_wrapper_connects(self):
        """
        After a block with the project's wrapper, writes are still noticed.
        """

        def wrapper(execute, *arguments):
            return execute(*arguments)

        def connect():
            with connection.execute_wrapper(wrapper):
                Tag.objects.exists()
            left.extend(connection.execute_wrappers)
            Item.objects.create(title="a")
            connection.close()

        left = []
        thread = Thread(target=connect)  # with a connection that is new
        thread.start()
        thread.join()
        assert wrapper not in left
        assert [USING] == requested

    def test_many_at_once(self):
        """
        `executemany` counts as one statement.
        """
        with connection.cursor() as cursor:
            cursor.executemany("UPDATE library_item SET count = %s", [[1], [2]])
        assert [USING] == requested

    def test_a_failed_write(self, execute):
        """
        A failed statement in autocommit requests none.
        """
        with pytest.raises(Exception, match="nothing"):
            execute("UPDATE library_item SET nothing = 1")
        assert [] == requested

    def test_a_transaction_that_django_does_not_know(self, execute):
        """
        If the caller commits by hand, the sweep finds the rows.
        """
        transaction.set_autocommit(False)
        try:
            execute(WRITES[0])
            transaction.rollback()
        finally:
            transaction.set_autocommit(True)
        assert [] == requested
        assert not Item.objects.exists()
