"""Rows that triggers wrote are rendered: as the change left the object, or not at all."""

import json

import pytest
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from rest_framework.authtoken.models import Token

from apps.outbox.announcers import announcer_of
from apps.outbox.exceptions import UnknownTypeError
from apps.outbox.models import NotificationOutbox, Rendering
from apps.outbox.numbering import number
from apps.outbox.renderer import render_batch
from apps.outbox.rendering import render
from apps.outbox.unrendered import settle, shards_to_render, take
from apps.realtime.registry import register, unregister
from tests.database import elsewhere, row_locks
from tests.library.live import ItemType
from tests.library.models import Item, Shelf, Tag

pytestmark = pytest.mark.django_db(transaction=True)

USING = {"using": DEFAULT_DB_ALIAS}


def drain():
    """Render until nothing is left that can be rendered now."""
    while shards := shards_to_render(**USING):
        assert sum(render_batch(shard, **USING) for shard in shards)


@pytest.fixture
def rendered():
    """Render everything; return stream, event and payload of each row, oldest first."""

    def rendered(**lookup):
        drain()
        rows = NotificationOutbox.objects.filter(**lookup).order_by("id")
        return [(row.stream, row.event, row.payload) for row in rows]

    return rendered


@pytest.fixture
def item(triggers):
    """An item on a shelf, of which nothing is announced."""
    shelf = Shelf.objects.create(name="full")
    item = Item.objects.create(title="a", shelf=shelf)
    NotificationOutbox.objects.all().delete()
    return item


@pytest.fixture
def item_type():
    """Register another type for items while the test runs."""

    def item_type(**attributes):
        unregister("item")
        register(type("OtherItemType", (ItemType,), attributes))

    yield item_type
    unregister("item")
    register(ItemType)


class TestContent:
    def test_each_change_shows_what_it_left(self, item, execute, rendered):
        """
        However late it is rendered, each row has the object's columns as they were after its change.
        """
        for title in "bc":
            execute("UPDATE library_item SET title = %s", title)
        titles = [payload["title"] for *_, payload in rendered(stream=f"item:{item.pk}")]
        assert ["b", "c"] == titles
        assert not NotificationOutbox.objects.filter(image__isnull=False).exists()

    def test_a_deletion_shows_the_id_only(self, item, execute, rendered):
        """
        Whatever the object was, nothing of it is in the payload.
        """
        execute("DELETE FROM library_item")
        ((_, event, payload),) = rendered(stream=f"item:{item.pk}")
        assert ("DELETE_ITEM", {"id"}) == (event, payload.keys())

    def test_relations_are_shown_as_they_are(self, item, execute, rendered):
        """
        What a payload shows of other rows is what they are when it is rendered.
        """
        execute("UPDATE library_item SET title = 'b'")
        item.tags.add(Tag.objects.create(name="late"))
        shown = {json.dumps(payload["tags"]) for *_, payload in rendered(object_type="item")}
        assert {'["late"]'} == shown

    def test_language_and_time_zone_are_the_projects(
        self, settings, item, item_type, execute, rendered
    ):
        """
        Whoever renders, and whoever wrote: the payload is the same.
        """

        def payload(self, instance):
            zone = timezone.get_current_timezone_name()
            return {"language": translation.get_language(), "zone": zone}

        settings.LANGUAGE_CODE = "fr"
        item_type(payload=payload)
        execute("UPDATE library_item SET title = 'b'")
        with translation.override("de"), timezone.override("Asia/Tokyo"):
            shown = rendered(stream=f"item:{item.pk}")
        assert {"language": "fr", "zone": "UTC"} == shown[0][2]

    def test_one_change_is_rendered_once(self, item, item_type, execute, rendered):
        """
        All streams of one change share one payload.
        """
        calls = []
        item_type(payload=lambda self, instance: {"call": calls.append(1) or len(calls)})
        execute("UPDATE library_item SET title = 'b'")
        NotificationOutbox.objects.update(shard=3)
        assert [{"call": 1}] * 2 == [payload for *_, payload in rendered(object_type="item")]

    def test_a_large_batch_costs_few_queries(self, triggers, item_type, execute):
        """
        With `prefetch` a hundred objects are rendered with as many queries as two.
        """
        item_type(prefetch=("tags",))
        costs = []
        for count in (2, 100):
            execute(
                "INSERT INTO library_item (title, count, price, notes) SELECT 'x', 0, 0, '{}'"
                " FROM generate_series(1, %s)",
                count,
            )
            NotificationOutbox.objects.exclude(object_type="item").delete()
            NotificationOutbox.objects.update(shard=3)
            with CaptureQueriesContext(connection) as queries:
                assert count == render_batch(3, **USING)
            costs.append(len(queries))
            NotificationOutbox.objects.all().delete()
        assert costs[0] == costs[1]

    def test_a_column_that_went_since(self, item, execute, rendered):
        """
        A row with an image of another table's shape is rendered with what is still there.
        """
        execute("UPDATE library_item SET title = 'b'")
        NotificationOutbox.objects.update(image={"id": item.pk, "title": "b", "gone": 1})
        assert "b" == rendered(stream=f"item:{item.pk}")[0][2]["title"]

    def test_a_column_of_another_type_since(self, item, execute, rendered):
        """
        An image that can't be read any more is not used, and spoils no other row.
        """
        execute("UPDATE library_item SET title = 'b'")
        execute("UPDATE library_item SET title = 'c'")
        row = NotificationOutbox.objects.filter(stream=f"item:{item.pk}").earliest("id")
        NotificationOutbox.objects.filter(pk=row.pk).update(image={**row.image, "count": "many"})
        shown = rendered(stream=f"item:{item.pk}")
        assert ["c", "c"] == [payload["title"] for *_, payload in shown]

    def test_an_image_without_key(self, item, execute, rendered):
        """
        It says of no object what it shows: the object is shown as it is.
        """
        execute("UPDATE library_item SET title = 'b'")
        NotificationOutbox.objects.update(image={"title": "nobody's"})
        assert "b" == rendered(stream=f"item:{item.pk}")[0][2]["title"]


class TestObsolete:
    def test_of_what_is_gone(self, item, execute, rendered):
        """
        A change of an object that is gone by now has neither payload nor image, and is no failure.
        """
        execute("UPDATE library_item SET title = 'b'")
        execute("DELETE FROM library_item")
        assert [("UPDATE_ITEM", True), ("DELETE_ITEM", False)] == [
            (event, payload is None) for _, event, payload in rendered(stream=f"item:{item.pk}")
        ]
        (row,) = NotificationOutbox.objects.filter(event="UPDATE_ITEM", stream=f"item:{item.pk}")
        assert (None, None, False) == (row.image, row.failed_at, row.obsolete_at is None)

    def test_of_what_has_moved(self, item, execute, rendered):
        """
        What an object was in another place is shown to nobody who sees it in the new one.
        """
        execute("UPDATE library_item SET title = 'secret'")
        other = Shelf.objects.create(name="other")
        NotificationOutbox.objects.filter(object_type="shelf").delete()
        execute("UPDATE library_item SET title = 'public', shelf_id = %s", other.pk)
        titles = [payload and payload.get("title") for *_, payload in rendered(object_type="item")]
        assert "secret" not in titles
        assert [None, "public"] == [
            payload and payload["title"] for *_, payload in rendered(stream=f"item:{item.pk}")
        ]

    def test_of_what_has_left_a_collection(self, item, execute, rendered):
        """
        A row without image isn't shown in a collection that its object has left.
        """
        execute("UPDATE library_item SET title = 'b'")
        NotificationOutbox.objects.update(image=None)
        execute("UPDATE library_item SET shelf_id = NULL")
        left = rendered(stream=f"shelf.items:{item.shelf_id}")
        assert ["DELETE_ITEM"] == [event for _, event, _ in left]

    def test_of_what_never_was(self, item, execute, rendered):
        """
        An item that is no book leaves no row of a book.
        """
        execute("UPDATE library_item SET title = 'b'")
        assert [] == rendered(object_type="book")


def test_an_unknown_type_is_said():
    """
    A row of a type that this process doesn't know can't be rendered by it.
    """
    with pytest.raises(UnknownTypeError, match="'other' is not registered"):
        announcer_of("other")


def test_the_end_of_a_right_shows_nothing(triggers, django_user_model, rendered):
    """
    A row about a user's rights has an empty payload, whether or not the user is still there.
    """
    user = django_user_model.objects.create_user("ann")
    NotificationOutbox.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE auth_user SET is_active = false")
        cursor.execute("DELETE FROM auth_user")
    assert [
        (f"rights:{user.pk}", "UPDATE_RIGHTS", {}),
        (f"rights:{user.pk}", "DELETE_RIGHTS", {}),
    ] == rendered()


class TestEverywhere:
    def test_each_stream_of_the_object_gets_a_row(self, item, rendered):
        """
        A change of what an object shows is announced on its own stream and in its collections.
        """
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO library_tag (name) VALUES ('new') RETURNING id")
            cursor.execute(
                "INSERT INTO library_item_tags (item_id, tag_id) VALUES (%s, %s)",
                [item.pk, cursor.fetchone()[0]],
            )
        streams = [stream for stream, *_ in rendered(object_type="item")]
        assert [f"item:{item.pk}", f"shelf.items:{item.shelf_id}"] == streams
        ids = set(NotificationOutbox.objects.values_list("event_id", flat=True))
        assert 1 == len(ids)

    def test_one_transaction_is_one_row(self, item, execute, rendered):
        """
        However many rows of a relation one transaction writes, their owner is announced once.
        """
        execute("INSERT INTO library_tag (name) SELECT 'x' FROM generate_series(1, 10)")
        execute(
            "INSERT INTO library_item_tags (item_id, tag_id) SELECT %s, id FROM library_tag",
            item.pk,
        )
        assert 2 == len(rendered(object_type="item"))


class TestErrors:
    @pytest.fixture
    def broken(self, item_type):
        """Items named "bad" can't be rendered."""

        def payload(self, instance):
            if instance.title == "bad":
                raise RuntimeError("It is bad.")
            return {"title": instance.title}

        item_type(payload=payload)

    def test_hold_up_their_own_stream_only(self, item, broken, execute, rendered):
        """
        The row is tried again; what follows in its stream waits, and other streams don't.
        """
        for title in ("bad", "good"):
            execute("UPDATE library_item SET title = %s WHERE id = %s", title, item.pk)
        execute(
            "INSERT INTO library_item (title, count, price, notes) VALUES ('other', 0, 0, '{}')"
        )
        drain()
        for shard in range(16):
            number(shard, **USING)
        assert not NotificationOutbox.objects.filter(
            stream=f"item:{item.pk}", offset__isnull=False
        ).exists()
        assert 1 == NotificationOutbox.objects.get(event="CREATE_ITEM").offset
        row = NotificationOutbox.objects.filter(stream=f"item:{item.pk}").earliest("id")
        assert (1, "builtins.RuntimeError", "bad") == (
            row.attempts,
            row.error_type,
            row.image["title"],
        )
        assert "It is bad." in row.error_traceback

    def test_fail_in_the_end(self, settings, item, broken, execute, rendered):
        """
        A row whose attempts are spent keeps its image; it is numbered, and its stream goes on.
        """
        settings.OUTBOX = {**settings.OUTBOX, "MAX_ATTEMPTS": 1}
        for title in ("bad", "good"):
            execute("UPDATE library_item SET title = %s", title)
        drain()
        for shard in range(16):
            number(shard, **USING)
        first, second = NotificationOutbox.objects.filter(stream=f"item:{item.pk}").order_by("id")
        assert ("failed", 1, "bad") == (first.state, first.offset, first.image["title"])
        assert ("pending", 2, {"title": "good"}) == (second.state, second.offset, second.payload)

    def test_a_copy_follows_its_row(self, settings, item, broken, execute, rendered):
        """
        A row about an object in all its streams that can't be rendered fails in each of them.
        """
        settings.OUTBOX = {**settings.OUTBOX, "MAX_ATTEMPTS": 1}
        execute("UPDATE library_item SET title = 'bad'")
        NotificationOutbox.objects.all().delete()
        execute("INSERT INTO library_tag (name) VALUES ('new')")
        execute(
            "INSERT INTO library_item_tags (item_id, tag_id) SELECT %s, id FROM library_tag",
            item.pk,
        )
        drain()
        assert [f"item:{item.pk}", f"shelf.items:{item.shelf_id}"] == list(
            NotificationOutbox.objects.failed().order_by("id").values_list("stream", flat=True)
        )

    def test_a_type_that_nobody_knows_is_left(self, item, execute):
        """
        A row of a type that this process doesn't know waits, without an attempt, for one that does.
        """
        execute("UPDATE library_item SET title = 'b'")
        NotificationOutbox.objects.update(object_type="other")
        assert [] == shards_to_render(**USING)
        assert not any(take(shard, **USING).rows for shard in range(16))


class TestDeaths:
    @pytest.fixture
    def shard(self, item, execute):
        """The shard of three rows to render, of three streams."""
        execute(
            "INSERT INTO library_item (title, count, price, notes) SELECT 'x', 0, 0, '{}'"
            " FROM generate_series(1, 3)"
        )
        NotificationOutbox.objects.exclude(object_type="item").delete()
        NotificationOutbox.objects.update(shard=3)
        assert 3 == NotificationOutbox.objects.count()
        return 3

    def die(self, shard):
        """Take a batch, and be silent for so long that everybody takes it for left."""
        batch = take(shard, **USING)
        Rendering.objects.update(seen_at="2020-01-01T00:00Z")
        return batch

    def test_nobody_takes_what_is_in_hand(self, shard):
        """
        While a process renders, nobody else does.
        """
        assert 3 == len(take(shard, **USING).rows)
        assert take(shard, **USING) is None

    def test_nobody_waits_for_who_takes(self, shard, execute):
        """
        A shard whose record is locked is left for the next time.
        """
        take(shard, **USING)
        with elsewhere(row_locks(Rendering.objects.filter(shard=shard))):
            assert take(shard, **USING) is None

    def test_batches_shrink_until_the_row_is_alone(self, shard, settings):
        """
        Each death makes the batch smaller; in the end each row comes alone.
        """
        settings.OUTBOX = {**settings.OUTBOX, "BATCH_ROWS": 8}
        assert [3, 2, 1] == [len(self.die(shard).rows) for _ in range(3)]

    def test_a_row_that_is_always_alone_fails(self, shard, settings):
        """
        After many deaths each further one is an attempt, and in the end the row has failed.
        """
        settings.OUTBOX = {**settings.OUTBOX, "MAX_ATTEMPTS": 1}
        NotificationOutbox.objects.filter(
            pk__gt=NotificationOutbox.objects.earliest("id").pk
        ).delete()
        NotificationOutbox.objects.update(claims=12)
        (row,) = self.die(shard).rows
        assert [] == self.die(shard).rows
        failed = NotificationOutbox.objects.get(pk=row.pk)
        assert "apps.outbox.exceptions.WorkerDiedError" == failed.error_type

    def test_who_was_taken_for_dead_changes_nothing(self, shard):
        """
        A process that wakes up after somebody else took its batch settles nothing.
        """
        late = self.die(shard)
        results = render(late.rows, **USING)
        assert take(shard, **USING)
        assert not settle(late, results, **USING)
        assert not NotificationOutbox.objects.filter(payload__isnull=False).exists()

    def test_slow_code_is_waited_for(self, shard, item_type, settings):
        """
        Code that takes longer than a silent process is given is no death, and is stayed with.
        """
        seen = []

        def payload(self, instance):
            before = Rendering.objects.get(shard=3).seen_at
            while Rendering.objects.get(shard=3).seen_at == before and len(seen) < 2:
                pass
            seen.append(take(3, **USING))
            return {}

        item_type(payload=payload)
        assert 3 == render_batch(shard, **USING)
        assert [None] * 3 == seen
        assert {0} == set(NotificationOutbox.objects.values_list("claims", flat=True))

    def test_endless_code_is_left(self, shard, item_type, settings):
        """
        After RENDER_SECONDS nobody is told any more that somebody renders.
        """
        settings.OUTBOX = {**settings.OUTBOX, "RENDER_SECONDS": 0}

        def payload(self, instance):
            Rendering.objects.update(seen_at="2020-01-01T00:00Z")
            assert take(3, **USING)
            return {}

        item_type(payload=payload)
        assert 0 == render_batch(shard, **USING)


def test_a_database_that_is_away_blames_no_row(item, item_type, execute):
    """
    If the connection is lost while the project's code runs, no attempt is counted.
    """

    def payload(self, instance):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    item_type(payload=payload)
    execute("UPDATE library_item SET title = 'b'")
    NotificationOutbox.objects.exclude(object_type="item").delete()
    (shard, *_) = shards_to_render(**USING)
    with pytest.raises(OperationalError):
        render_batch(shard, **USING)
    connection.close()
    assert {0} == set(NotificationOutbox.objects.values_list("attempts", flat=True))


def test_nothing_secret_is_in_an_image(triggers, django_user_model):
    """
    Neither a user's password nor a token's key is anywhere in a row.
    """
    user = django_user_model.objects.create_user("ann", password="secret")
    token = Token.objects.create(user=user)
    key = token.key
    user.set_password("other")
    user.save()
    token.delete()
    captured = NotificationOutbox.objects.filter(transaction__isnull=False)
    rows = captured.values_list("stream", "object_id", "image", "payload")
    text = repr(list(rows))
    assert user.password not in text
    assert key not in text
    assert "rights" in text
