"""Rows that can't be rendered are tried again, and fail in the end. Other streams don't wait for them."""

from contextlib import nullcontext

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, OperationalError, connection, models, transaction

from pillarbox.capture.triggers.installation import install
from pillarbox.exceptions import UnknownObjectTypeError, UnreadableError
from pillarbox.models import NotificationOutbox
from pillarbox.stream.numbering import number, number_overdue
from pillarbox.stream.rendering.batches.due_shards import overdue_shards, shards_to_render
from pillarbox.stream.rendering.batches.taking import take
from pillarbox.stream.rendering.renderer import render_batch
from pillarbox.types.live_models import announcer_of
from tests.library.models import Item, Tag
from tests.registration import live_model
from tests.rendering import USING, render_all

pytestmark = pytest.mark.django_db(transaction=True)


class TestErrors:
    @pytest.fixture
    def broken(self, item_type):
        """Make rendering raise for items with the title "bad"."""

        def payload(self, instance):
            if instance.title == "bad":
                raise RuntimeError("It is bad.")
            return {"title": instance.title}

        item_type(payload=payload)

    def test_hold_up_their_own_stream_only(self, item, broken, execute, rendered):
        """
        The row is tried again. Later rows of its stream wait, and other streams don't.
        """
        for title in ("bad", "good"):
            execute("UPDATE library_item SET title = %s WHERE id = %s", title, item.pk)
        execute(
            "INSERT INTO library_item (title, count, price, notes) VALUES ('other', 0, 0, '{}')"
        )
        render_all()
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

    def test_a_row_that_waits_for_others_keeps_its_place(self, item, execute, rendered):
        """
        A row that no trigger wrote is numbered in the order of its stream.
        """
        for title in ("a row", "a replay", "another row"):
            execute("UPDATE library_item SET title = %s WHERE id = %s", title, item.pk)
        stream = NotificationOutbox.objects.filter(stream=f"item:{item.pk}").order_by("id")
        stream.filter(pk=stream[1].pk).update(transaction=None, payload={}, image=None)
        render_all()
        for shard in range(16):
            number(shard, **USING)
        assert [1, 2, 3] == list(stream.values_list("offset", flat=True))

    def test_fail_in_the_end(self, settings, item, broken, execute, rendered):
        """
        A row whose attempts are spent keeps its image and gets an offset, and its stream continues.
        """
        settings.PILLARBOX = {**settings.PILLARBOX, "MAX_ATTEMPTS": 1}
        for title in ("bad", "good"):
            execute("UPDATE library_item SET title = %s", title)
        render_all()
        for shard in range(16):
            number(shard, **USING)
        first, second = NotificationOutbox.objects.filter(stream=f"item:{item.pk}").order_by("id")
        assert ("failed", 1, "bad") == (first.state, first.offset, first.image["title"])
        assert ("pending", 2, {"title": "good"}) == (second.state, second.offset, second.payload)

    @pytest.mark.parametrize("value", ["NaN", "-Infinity"])
    def test_a_value_that_json_lacks_fails_at_once(self, execute, value):
        """
        Another attempt would fail, too. The error names the field, and the stream continues.
        """
        with live_model(weight=models.FloatField()) as model:
            thing = model.objects.create(weight=1.5)
            for weight in (value, 2.5):
                execute("UPDATE library_thing SET weight = %s", weight)
            render_all()
        first, second, third = NotificationOutbox.objects.filter(
            stream=f"thing:{thing.pk}"
        ).order_by("id")
        assert [1.5, 2.5] == [row.payload["weight"] for row in (first, third)]
        assert ("failed", 1) == (second.state, second.attempts)
        assert second.error_message.startswith("thing.weight: expected a finite number, got float")

    def test_tell_no_secret_of_an_object_without_image(self, item, item_type, execute, rendered):
        """
        Values under secret names are redacted in the error, though the row has no image.
        """

        def payload(self, instance):
            raise RuntimeError(f"{instance.notes} is wrong")

        item_type(payload=payload)
        execute("UPDATE library_item SET notes = %s", '{"api_key": "tiger-99-lily"}')
        NotificationOutbox.objects.all().delete()
        item.tags.add(Tag.objects.create(name="new"))
        render_all()
        row = NotificationOutbox.objects.get(stream=f"item:{item.pk}")
        assert row.image is None
        assert "[redacted]" in row.error_message
        assert "tiger-99-lily" not in row.error_message + row.error_traceback

    @pytest.mark.parametrize("is_asked_for", [False, True], ids=["by itself", "by a query"])
    def test_show_nothing_that_the_type_omits(
        self, item, item_type, execute, caplog, rendered, is_asked_for
    ):
        """
        Neither the stored error nor the log quotes an omitted column, whichever way the serializer read it.
        """

        def payload(self, instance):
            row = Item.objects.get(pk=instance.pk) if is_asked_for else instance
            raise RuntimeError(f"{row.notes} of {instance.title}")

        item_type(payload=payload, omit=("notes",))
        install(**USING)
        execute("UPDATE library_item SET title = 'b', notes = %s", '{"length": "tiger-99-lily"}')
        images = [*NotificationOutbox.objects.values_list("image", flat=True)]
        render_all()
        row = NotificationOutbox.objects.get(stream=f"item:{item.pk}")
        assert "{'length': '[redacted]'} of b" == row.error_message
        logged = [vars(record) for record in caplog.records]
        assert "tiger" not in f"{images} {row.error_traceback} {logged}"

    def test_quote_no_value_that_cannot_be_read(self, execute, caplog):
        """
        If a field itself raises, the error doesn't quote its value, but says where it was raised.
        """
        with live_model(number=Encrypted(default="")):
            execute("INSERT INTO library_thing (number) VALUES ('tiger-99-lily')")
            render_all()
        row = NotificationOutbox.objects.get(object_type="thing")
        texts = (row.error_message, row.error_traceback, str([vars(one) for one in caplog.records]))
        assert not any("tiger" in text for text in texts)
        assert "ValueError: raised in from_db_value" in row.error_message

    def test_an_error_that_has_no_words(self, item, item_type, execute, caplog, rendered):
        """
        An error whose text can't be made is recorded by its type, and holds up no other stream.
        """

        def payload(self, instance):
            if instance.title == "bad":
                raise ValidationError("%(missing)s", params={"title": instance.title})
            return {"title": instance.title}

        item_type(payload=payload)
        execute("UPDATE library_item SET title = 'bad'")
        Item.objects.create(title="good")
        NotificationOutbox.objects.update(shard=3)
        assert NotificationOutbox.objects.count() == render_batch(3, **USING)
        row = NotificationOutbox.objects.get(stream=f"item:{item.pk}")
        assert (1, "ValidationError") == (row.attempts, row.error_message)
        assert {"title": "good"} == NotificationOutbox.objects.get(event="CREATE_ITEM").payload
        assert ["ValidationError"] == [one.pillarbox_error for one in caplog.records]

    def test_a_copy_follows_its_row(self, settings, item, broken, execute, rendered):
        """
        If a row for all streams of an object can't be rendered, it fails in each of them.
        """
        settings.PILLARBOX = {**settings.PILLARBOX, "MAX_ATTEMPTS": 1}
        execute("UPDATE library_item SET title = 'bad'")
        NotificationOutbox.objects.all().delete()
        execute("INSERT INTO library_tag (name) VALUES ('new')")
        execute(
            "INSERT INTO library_item_tags (item_id, tag_id) SELECT %s, id FROM library_tag",
            item.pk,
        )
        render_all()
        assert [f"item:{item.pk}", f"shelf.items:{item.shelf_id}"] == list(
            NotificationOutbox.objects.failed().order_by("id").values_list("stream", flat=True)
        )

    def test_an_unregistered_type_is_left(self, item, execute):
        """
        A row of an unregistered type waits, without an attempt, for a process that has its type.
        """
        execute("UPDATE library_item SET title = 'b'")
        NotificationOutbox.objects.update(object_type="other")
        assert [] == shards_to_render(**USING)
        assert [] == overdue_shards(-1, **USING)
        assert not any(take(shard, **USING).rows for shard in range(16))

    def test_a_row_without_payload_is_not_to_number(self, item, execute):
        """
        An overdue row without payload is to be rendered, not numbered.
        """
        execute("UPDATE library_item SET title = 'b'")
        assert set() == number_overdue(-1, **USING)
        shards = NotificationOutbox.objects.values_list("shard", flat=True)
        assert set(shards) == set(overdue_shards(-1, **USING))


class Encrypted(models.TextField):
    """A field whose values can't be decrypted."""

    def from_db_value(self, value, expression, connection):
        raise ValueError(f"{value} can't be decrypted.")


def fail():
    """Cause a database error."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nothing")


def swallow(instance):
    with pytest.raises(DatabaseError):
        fail()


def swallow_in_a_transaction(instance):
    with transaction.atomic(), pytest.raises(DatabaseError):
        fail()


def fail_in_a_transaction(instance):
    with transaction.atomic():
        fail()


def write_durably(instance):
    with transaction.atomic(durable=True):
        Tag.objects.create(name="read")


def begin(instance):
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")


def switch_off_autocommit(instance):
    transaction.set_autocommit(False)


def ask_often(instance):
    for _ in range(1000):
        instance.refresh_from_db(fields=["count"])


class TestDatabase:
    """The project's code may use the database in any way."""

    @pytest.mark.parametrize(
        ("title", "use", "error"),
        [
            ("swallows", swallow, ""),
            ("swallows in a transaction", swallow_in_a_transaction, ""),
            ("fails in a transaction", fail_in_a_transaction, "django.db.utils.ProgrammingError"),
            ("writes durably", write_durably, ""),
            ("begins", begin, ""),
            ("switches off autocommit", switch_off_autocommit, ""),
            ("asks often", ask_often, ""),
        ],
    )
    def test_its_row_is_rendered_or_fails(
        self, settings, item, item_type, execute, title, use, error
    ):
        """
        The row is rendered or fails, and the rest of its batch is rendered normally.
        """

        def payload(self, instance):
            if instance.title == title:
                use(instance)
            return {"title": instance.title}

        settings.PILLARBOX = {**settings.PILLARBOX, "MAX_ATTEMPTS": 1}
        item_type(payload=payload)
        for new in (title, "good"):
            execute("UPDATE library_item SET title = %s", new)
        NotificationOutbox.objects.exclude(stream=f"item:{item.pk}").delete()
        render_all()
        assert transaction.get_autocommit()
        first, second = NotificationOutbox.objects.order_by("id")
        assert (error, None if error else {"title": title}) == (first.error_type, first.payload)
        assert {"title": "good"} == second.payload


class SealedField(models.CharField):
    """A text field that sometimes raises when it is read."""

    def from_db_value(self, value, expression, connection):
        if value == "bad":
            raise ValueError("It can't be read.")
        return value


class TestValues:
    """Values that can't be read fail only their own rows, before a serializer is called."""

    @pytest.mark.parametrize(
        ("field", "bad", "good", "error"),
        [
            (SealedField(max_length=10), "bad", "good", "ValueError: raised in from_db_value"),
            (models.DateField(), "infinity", "2026-11-27", "DataError: raised in"),
        ],
    )
    def test_of_an_object(self, settings, execute, field, bad, good, error):
        """
        The other rows of the batch are rendered at the same time.
        """
        settings.PILLARBOX = {**settings.PILLARBOX, "MAX_ATTEMPTS": 1}
        with live_model(value=field.clone()):
            for value in (good, bad, good, good):
                execute("INSERT INTO library_thing (value) VALUES (%s)", value)
            NotificationOutbox.objects.update(stream="thing:1", shard=3)
            assert 4 == render_batch(3, **USING)
        rows = NotificationOutbox.objects.order_by("id")
        assert [False, True, False, False] == [row.failed_at is not None for row in rows]
        unreadable = f"{UnreadableError.__module__}.{UnreadableError.__qualname__}"
        assert ["", unreadable, "", ""] == [row.error_type for row in rows]
        assert rows[1].error_message.startswith(error)

    def test_of_a_key(self, settings, item, item_type, execute):
        """
        Code for deleted objects may raise, too.
        """

        def tombstone(self, pk):
            return {"id": 1 / (pk - item.pk)}

        settings.PILLARBOX = {**settings.PILLARBOX, "MAX_ATTEMPTS": 1}
        item_type(tombstone=tombstone)
        Item.objects.create(title="b").delete()
        execute("DELETE FROM library_item")
        render_all()
        rows = NotificationOutbox.objects.filter(event="DELETE_ITEM").order_by("id")
        assert ("", {"id": 1.0}) == (rows[0].error_type, rows[0].payload)
        assert {"builtins.ZeroDivisionError"} == {row.error_type for row in rows[1:]}


def test_an_unregistered_type():
    """
    A row of an unregistered type raises an error.
    """
    with pytest.raises(UnknownObjectTypeError, match="'other' is not registered"):
        announcer_of("other")


@pytest.mark.parametrize("block", [nullcontext, transaction.atomic])
def test_an_outage_counts_no_attempt(item, item_type, execute, monkeypatch, block):
    """
    If the connection is lost while the project's code runs, no attempt is counted.
    """

    def payload(self, instance):
        monkeypatch.setitem(connection.settings_dict, "PORT", "1")
        with block(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    item_type(payload=payload)
    execute("UPDATE library_item SET title = 'b'")
    NotificationOutbox.objects.exclude(object_type="item").delete()
    (shard, *_) = shards_to_render(**USING)
    with pytest.raises(OperationalError):
        render_batch(shard, **USING)
    monkeypatch.undo()
    connection.close()
    assert {0} == set(NotificationOutbox.objects.values_list("attempts", flat=True))
