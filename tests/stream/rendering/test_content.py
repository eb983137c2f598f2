"""Rendered rows show the object as the change left it, or are obsolete."""

import json

import pytest
from django.db import connection, models
from django.db.models import F, Func, TextField, Value
from django.db.models.functions import Cast, Concat, Upper
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation
from rest_framework import serializers
from rest_framework.authtoken.models import Token

from pillarbox.models import NotificationOutbox
from pillarbox.stream.rendering.renderer import render_batch
from pillarbox.types.registry import ObjectType
from tests.library.live import ShelfType
from tests.library.models import Item, Shelf, Tag
from tests.registration import live_model, registered, type_of
from tests.rendering import USING

pytestmark = pytest.mark.django_db(transaction=True)


class TestContent:
    def test_each_change_shows_its_own_state(self, item, execute, rendered):
        """
        Each row has the object's columns as they were after its change, also if it is rendered late.
        """
        for title in "bc":
            execute("UPDATE library_item SET title = %s", title)
        titles = [payload["title"] for *_, payload in rendered(stream=f"item:{item.pk}")]
        assert ["b", "c"] == titles
        assert not NotificationOutbox.objects.filter(image__isnull=False).exists()

    def test_columns_may_have_any_name(self, rendered):
        """
        Columns may have the names that the SQL for images uses.
        """
        names = ("image", "place", "ordinality", "given", "shown", "row", "streams", "old_key")
        with live_model(**{name: models.CharField(max_length=10) for name in names}) as model:
            values = dict.fromkeys(names, "a")
            model.objects.create(**values)
            model.objects.update(place="b")
            contents = [payload for *_, payload in rendered(object_type="thing")]
        assert [values, {**values, "place": "b"}] == [
            {name: content[name] for name in names} for content in contents
        ]

    @pytest.mark.parametrize(
        "level", [models.FloatField(), models.DecimalField(max_digits=6, decimal_places=2)]
    )
    def test_not_a_number(self, execute, rendered, level):
        """
        NaN in a visibility field is no move, though it isn't equal to itself.
        """
        with (
            live_model(level=level, title=models.TextField()) as model,
            registered(type_of(model, fields=["title"], visibility_fields=("level",))),
        ):
            execute("INSERT INTO library_thing (level, title) VALUES ('NaN', 'a')")
            execute("UPDATE library_thing SET title = 'b'")
            found = rendered(object_type="thing", stream__startswith="thing:")
        assert [{"title": "a"}, {"title": "b"}] == [payload for *_, payload in found]

    @pytest.mark.parametrize(
        ("omit", "shown"), [((), ["A 7%", "B 7%"]), (("hidden",), ["B 7%", "B 7%"])]
    )
    def test_virtual_columns(self, execute, rendered, omit, shown):
        """
        Virtual columns are computed from the image, or from the current row if the image lacks their sources.
        """
        parts = ("title", Value(" "), Cast(F("hidden") % 10, TextField()), Value("%"))
        percents = Upper(Concat(*parts, output_field=TextField()))
        loud = models.GeneratedField(
            expression=percents, output_field=models.CharField(max_length=20), db_persist=False
        )
        with live_model(
            title=models.TextField(), hidden=models.IntegerField(default=7), loud=loud
        ) as model:

            class ThingSerializer(serializers.ModelSerializer):
                class Meta:
                    fields = ["loud"]

            ThingSerializer.Meta.model = model
            attributes = {"name": "thing", "serializer_class": ThingSerializer, "omit": omit}
            with registered(type("Loud", (ObjectType,), attributes)):
                execute("INSERT INTO library_thing (title, hidden) VALUES ('a', 7)")
                execute("UPDATE library_thing SET title = 'b'")
                found = [payload["loud"] for *_, payload in rendered(object_type="thing")]
        assert shown == found

    def test_nulls_of_json_and_of_sql(self, execute, rendered):
        """
        A JSON null and SQL's NULL stay what they are, for the field and for the columns computed from it.
        """

        class Notes(models.JSONField):
            def from_db_value(self, value, expression, connection):
                return super().from_db_value(
                    '"none"' if value is None else value, expression, connection
                )

        kind = Func(F("notes"), function="jsonb_typeof", output_field=TextField())
        copy = Func(F("notes"), function="jsonb_strip_nulls", output_field=Notes())
        with live_model(
            notes=Notes(null=True, db_column="It's notes"),
            other=models.JSONField(default=dict),
            kind=models.GeneratedField(expression=kind, output_field=TextField(), db_persist=False),
            copy=models.GeneratedField(expression=copy, output_field=Notes(), db_persist=True),
        ) as model:
            null = Value(None, models.JSONField())
            thing = model.objects.create(notes=null)
            for notes in ("NULL", "'[null]'", "'null'"):
                execute(f'UPDATE library_thing SET "It\'s notes" = {notes}')
            model.objects.update(other=null)
            found = [payload for *_, payload in rendered(stream=f"thing:{thing.pk}")]
        assert [
            (None, {}, "null", None),
            ("none", {}, None, "none"),
            ([None], {}, "array", "[None]"),  # DRF's text for a generated field
            (None, {}, "null", None),
            (None, None, "null", None),
        ] == [(one["notes"], one["other"], one["kind"], one["copy"]) for one in found]

    def test_a_very_wide_row(self, rendered):
        """
        A row with many columns has an image.
        """
        fields = {f"column_{n}": models.IntegerField(default=n) for n in range(500)}
        with live_model(notes=models.JSONField(null=True), **fields) as model:
            model.objects.create()
            model.objects.update(notes=models.Value(None, models.JSONField()))
            images = NotificationOutbox.objects.filter(object_type="thing")
            assert [True, True] == [fields.keys() < row.image.keys() for row in images]
            contents = [payload for *_, payload in rendered(object_type="thing")]
        assert [(499, None)] * 2 == [(one["column_499"], one["notes"]) for one in contents]

    def test_a_deletion_shows_the_id_only(self, item, execute, rendered):
        """
        The payload of a deletion has only the object's id.
        """
        execute("DELETE FROM library_item")
        ((_, event, payload),) = rendered(stream=f"item:{item.pk}")
        assert ("DELETE_ITEM", {"id"}) == (event, payload.keys())

    def test_relations_are_shown_as_they_are(self, item, execute, rendered):
        """
        Data of other rows in a payload is current when it is rendered.
        """
        execute("UPDATE library_item SET title = 'b'")
        item.tags.add(Tag.objects.create(name="late"))
        shown = {json.dumps(payload["tags"]) for *_, payload in rendered(object_type="item")}
        assert {'["late"]'} == shown

    def test_language_and_time_zone_are_the_projects(
        self, settings, item, item_type, execute, rendered
    ):
        """
        The payload doesn't depend on the language and time zone of the writer, or of an earlier payload.
        """

        def payload(self, instance):
            zone = timezone.get_current_timezone_name()
            language = translation.get_language()
            translation.activate("it")
            timezone.activate("Asia/Tokyo")
            return {"language": language, "zone": zone}

        settings.LANGUAGE_CODE = "fr"
        item_type(payload=payload)
        for title in "bc":
            execute("UPDATE library_item SET title = %s", title)
        with translation.override("de"), timezone.override("Asia/Tokyo"):
            shown = rendered(stream=f"item:{item.pk}")
        assert [{"language": "fr", "zone": "UTC"}] * 2 == [payload for *_, payload in shown]

    def test_one_change_is_rendered_once(self, item, item_type, execute, rendered):
        """
        All streams of one change share one payload.
        """
        calls = []
        item_type(payload=lambda self, instance: {"call": calls.append(1) or len(calls)})
        execute("UPDATE library_item SET title = 'b'")
        NotificationOutbox.objects.update(shard=3)
        assert [{"call": 1}] * 2 == [payload for *_, payload in rendered(object_type="item")]

    def test_a_large_batch_costs_few_queries(self, settings, execute):
        """
        With `shows`, a thousand objects need as many queries as two, whatever the serializer nests.
        """

        class TaggedSerializer(serializers.ModelSerializer):
            class Meta:
                model, fields, depth = Item, ["title", "borrower", "tags"], 1

        class NestedSerializer(serializers.ModelSerializer):
            items = TaggedSerializer(many=True, read_only=True)
            readers = serializers.SlugRelatedField("name", many=True, read_only=True)

            class Meta:
                model, fields = Shelf, ["name", "items", "readers"]

        class NestedType(ShelfType):
            serializer_class = NestedSerializer
            shows = ("readers__name", "items__title", "items__tags__name", "items__borrower__name")

        settings.PILLARBOX = {**settings.PILLARBOX, "BATCH_ROWS": 1000}
        execute("INSERT INTO library_reader (name) VALUES ('Ann')")
        execute("INSERT INTO library_tag (name) VALUES ('new')")
        costs = []
        with registered(NestedType):
            for count in (1, 2, 1000):  # the first run creates the shard's record
                execute(
                    "INSERT INTO library_shelf (name, touched) SELECT 'x', now()"
                    " FROM generate_series(1, %s)",
                    count,
                )
                execute(
                    "INSERT INTO library_item (title, count, price, notes, shelf_id, borrower_id)"
                    " SELECT 'a', 0, 0, '{}', shelf.id, reader.id"
                    " FROM library_shelf AS shelf, library_reader AS reader"
                )
                execute(
                    "INSERT INTO library_item_tags (item_id, tag_id) SELECT item.id, tag.id"
                    " FROM library_item AS item, library_tag AS tag ON CONFLICT DO NOTHING"
                )
                NotificationOutbox.objects.exclude(event="CREATE_SHELF").delete()
                NotificationOutbox.objects.update(shard=3)
                with CaptureQueriesContext(connection) as queries:
                    assert count == render_batch(3, **USING)
                costs.append(len(queries))
                shown = NotificationOutbox.objects.values_list("payload__items__0__tags__0__name")
                assert [("new",)] * count == list(shown)
                NotificationOutbox.objects.all().delete()
        assert costs[1] == costs[2]

    def test_a_dropped_column(self, item, execute, rendered):
        """
        An image with a column that was dropped since is rendered without it.
        """
        execute("UPDATE library_item SET title = 'b'")
        NotificationOutbox.objects.update(image={"id": item.pk, "title": "b", "gone": 1})
        assert "b" == rendered(stream=f"item:{item.pk}")[0][2]["title"]

    def test_a_column_of_another_type(self, item, execute, rendered):
        """
        An image that can't be read any more is not used, and harms no other row.
        """
        execute("UPDATE library_item SET title = 'b'")
        execute("UPDATE library_item SET title = 'c'")
        row = NotificationOutbox.objects.filter(stream=f"item:{item.pk}").earliest("id")
        NotificationOutbox.objects.filter(pk=row.pk).update(image={**row.image, "count": "many"})
        shown = rendered(stream=f"item:{item.pk}")
        assert ["c", "c"] == [payload["title"] for *_, payload in shown]

    def test_an_image_without_key(self, item, execute, rendered):
        """
        A row whose image lacks the primary key shows the current object.
        """
        execute("UPDATE library_item SET title = 'b'")
        NotificationOutbox.objects.update(image={"title": "nobody's"})
        assert "b" == rendered(stream=f"item:{item.pk}")[0][2]["title"]


class TestObsolete:
    def test_of_a_deleted_object(self, item, execute, rendered):
        """
        The row of a deleted object has neither payload nor image, and didn't fail.
        """
        execute("UPDATE library_item SET title = 'b'")
        execute("DELETE FROM library_item")
        assert [("UPDATE_ITEM", True), ("DELETE_ITEM", False)] == [
            (event, payload is None) for _, event, payload in rendered(stream=f"item:{item.pk}")
        ]
        (row,) = NotificationOutbox.objects.filter(event="UPDATE_ITEM", stream=f"item:{item.pk}")
        assert (None, None, False) == (row.image, row.failed_at, row.obsolete_at is None)

    def test_of_a_moved_object(self, item, execute, rendered):
        """
        The state of an object before a move is shown to no reader of its new place.
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

    def test_of_an_object_that_left_a_collection(self, item, execute, rendered):
        """
        A row without image isn't shown in a collection that its object has left.
        """
        execute("UPDATE library_item SET title = 'b'")
        NotificationOutbox.objects.update(image=None)
        execute("UPDATE library_item SET shelf_id = NULL")
        left = rendered(stream=f"shelf.items:{item.shelf_id}")
        assert ["DELETE_ITEM"] == [event for _, event, _ in left]

    def test_of_an_object_of_another_type(self, item, execute, rendered):
        """
        An item that is not a book leaves no row of a book.
        """
        execute("UPDATE library_item SET title = 'b'")
        assert [] == rendered(object_type="book")


class TestEverywhere:
    def test_each_stream_of_the_object_gets_a_row(self, item, rendered):
        """
        A change of a shown row is announced in the object's own stream and in its collections.
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
        For any number of changed rows of a relation, one transaction announces their owner once.
        """
        execute("INSERT INTO library_tag (name) SELECT 'x' FROM generate_series(1, 10)")
        execute(
            "INSERT INTO library_item_tags (item_id, tag_id) SELECT %s, id FROM library_tag",
            item.pk,
        )
        assert 2 == len(rendered(object_type="item"))


def test_the_end_of_a_right_shows_nothing(django_user_model):
    """
    Rows about a user's rights are written complete, and name the user.
    """
    user = django_user_model.objects.create_user("ann")
    NotificationOutbox.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE auth_user SET is_active = false")
        cursor.execute("DELETE FROM auth_user")
    rows = NotificationOutbox.objects.order_by("id")
    assert [
        ("rights", "UPDATE_RIGHTS", str(user.pk), {}),
        ("rights", "DELETE_RIGHTS", str(user.pk), {}),
        ("rights", "DELETE_RIGHTS_USER", str(user.pk), {}),
    ] == list(rows.values_list("stream", "event", "object_id", "payload"))


def test_nothing_secret_is_in_an_image(django_user_model):
    """
    No row contains a user's password or a token's key.
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
