"""Tests of the system checks of what payloads show."""

from contextlib import contextmanager
from functools import partial

import pytest
from django.contrib.auth import get_user_model
from django.core.checks import run_checks
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import DEFAULT_DB_ALIAS, models
from django.db.models.functions import Upper
from django.test.utils import isolate_apps
from rest_framework import serializers

from apps.tickets.models import Project, Ticket
from pillarbox.checks.payloads import (
    events_have_what_is_shown,
    integers_fit_javascript,
    payloads_show_what_is_declared,
)
from pillarbox.live import HashidField, HashidRelatedField
from pillarbox.types.registry import ObjectType, object_type, register, unregister
from tests.library.models import Book, Item, Reader, Series, Shelf, Tag, Volume


def serializer(model, *names, **fields):
    """Return a serializer with fields of the model, by name, and further fields."""
    meta = type("Meta", (), {"model": model, "fields": [*names, *fields]})
    return type("Serializer", (serializers.ModelSerializer,), {"Meta": meta, **fields})


@contextmanager
def kind(serializer_class, **attributes):
    """Register a type within the block."""
    names = {"name": "kind", "serializer_class": serializer_class, **attributes}
    register(type("Kind", (ObjectType,), names))
    try:
        yield
    finally:
        unregister("kind")


def undeclared(serializer_class, **attributes):
    """Return the fields that a check finds, each with the path that is missing."""
    with kind(serializer_class, **attributes):
        found = payloads_show_what_is_declared()
    assert {"pillarbox.W109"} >= {message.id for message in found}
    return {message.msg.split("'")[1]: message.msg.split("'")[5] for message in found}


def test_the_project_declares_what_it_shows():
    """
    The project's own serializers, and the library's, show only what is declared.
    """
    assert [] == payloads_show_what_is_declared()


USER = serializer(get_user_model(), "id", "username")
ITEM = serializer(
    Item, "title", tags=serializers.SlugRelatedField("name", many=True, read_only=True)
)


def slug(name, source, **options):
    return serializers.SlugRelatedField(name, read_only=True, source=source, **options)


def keys(source, **options):
    return serializers.PrimaryKeyRelatedField(read_only=True, source=source, **options)


def column(source):
    return serializers.ReadOnlyField(source=source)


@pytest.mark.parametrize(
    ("model", "field", "path"),
    [
        (Ticket, slug("username", "assignee"), "assignee__username"),
        (Ticket, serializers.CharField(source="assignee.username"), "assignee__username"),
        (Ticket, column("project.pk"), "project"),
        (Ticket, serializers.IntegerField(source="project.id"), "project"),
        (Ticket, keys("project.members", many=True), "project__members"),
        (Ticket, slug("project__name", "assignee.tickets"), "assignee__tickets__project__name"),
        (Project, slug("username", "members", many=True), "members__username"),
        (Project, serializers.StringRelatedField(many=True, source="members"), "members__COLUMN"),
        (Project, column("members.count"), "members__COLUMN"),
        (Project, keys("tickets", many=True), "tickets"),
        (
            Project,
            HashidRelatedField("ticket", many=True, read_only=True, source="tickets"),
            "tickets",
        ),
        (Shelf, keys("pass_set", many=True), "pass_set"),
        (Item, keys("book"), "book"),
        (Item, column("book.pages"), "book__pages"),
        (Book, column("borrower.name"), "borrower__name"),
        (Tag, keys("items.shelf"), "items__shelf_id"),
        (Tag, column("items.shelf_id"), "items__shelf"),
        (Volume, slug("code", "series"), "series"),
        (Volume, column("series.code"), "series"),
        (Tag, slug("code", "series_set", many=True), "series_set__code"),
    ],
    ids=str,
)
def test_a_field_shows_other_rows(model, field, path):
    """
    The warning names field and path. It goes when the path is declared.
    """
    shown = serializer(model, "id", shown=field)
    assert {"shown": path} == undeclared(shown)
    assert {} == undeclared(shown, shows=(path.replace("COLUMN", "id"),))


@pytest.mark.parametrize(
    ("model", "names", "fields"),
    [
        (Ticket, ["title", "project", "assignee"], {}),
        (Ticket, [], {"id": HashidField("ticket"), "project": HashidRelatedField("project")}),
        (Ticket, [], {"secret": serializers.CharField(source="assignee.email", write_only=True)}),
        (Ticket, [], {"hidden": USER(source="assignee", write_only=True)}),
        (Ticket, [], {"computed": serializers.SerializerMethodField(), "get_computed": str}),
        (Ticket, [], {"__str__": serializers.CharField()}),
        (Ticket, [], {"both": serializer(Ticket, "title")(source="*")}),
        (Ticket, [], {"owner_id": serializers.ReadOnlyField(source="assignee_id")}),
        (Project, [], {"numbers": USER(source="numbers", many=True)}),
    ],
)
def test_a_field_shows_nothing_of_other_rows(model, names, fields):
    """
    The object's own columns and methods, and fields that are only written, are left out.
    """
    own = {name: one for name, one in fields.items() if isinstance(one, serializers.Field)}
    shown = serializer(model, *names, **own)
    assert {} == undeclared(type("Serializer", (shown,), fields))


@pytest.mark.django_db
def test_of_a_serializer_that_cannot_be_made():
    """
    One error names the mistake, such as a field that doesn't exist, also before `migrate`.
    """
    before = run_checks(databases=[DEFAULT_DB_ALIAS])
    with kind(serializer(Ticket, "titel"), visible_to=str):
        (error,) = (one for one in run_checks(databases=[DEFAULT_DB_ALIAS]) if one not in before)
    assert "pillarbox.E106" == error.id
    assert "`titel` is not valid for model `Ticket`" in error.msg
    assert error.hint.startswith("Correct the serializer.")


class TestNested:
    def test_fields_count(self):
        """
        Each field of a nested serializer counts, at any depth.
        """
        shelf = serializer(
            Shelf, "name", items=ITEM(many=True), star=serializer(Shelf, "name")(source="*")
        )
        reader = serializer(Reader, "name", shelves=shelf(many=True))
        assert {
            "shelves.name": "shelves__name",
            "shelves.items.title": "shelves__items__title",
            "shelves.items.tags": "shelves__items__tags__name",
            "shelves.star.name": "shelves__name",
        } == undeclared(reader)

    def test_are_covered_by_everything(self):
        """
        A path to everything of rows covers all that is shown of them.
        """
        shelf = serializer(Shelf, "name", items=ITEM(many=True))
        assert {} == undeclared(shelf, shows=("items__*",))

    def test_made_by_depth(self):
        """
        Nested serializers that DRF makes itself count, too.
        """
        deep = serializer(Volume, "series")
        deep.Meta.depth = 1
        found = undeclared(deep, shows=("series__code",))
        assert {"series.tags": "series__tags", "series.editors": "series__editors"} == {
            name: path for name, path in found.items() if path.count("__") == 1
        }


@pytest.mark.parametrize(
    ("model", "annotation", "path"),
    [
        (Project, models.Count("tickets"), "tickets"),
        (Shelf, models.Count("pass"), "pass_set"),
        (Shelf, models.Sum("items__count"), "items__count"),
        (Tag, models.Count("items__shelf"), "items__shelf"),
        (Tag, models.Max("items__shelf__touched__hour"), "items__shelf__touched"),
        (Ticket, models.F("project__pk"), "project"),
        (Ticket, Upper("assignee__username"), "assignee__username"),
        (Item, models.Count("pk", filter=models.Q(tags__name="a")), "tags__name"),
        (Item, models.Q(shelf__name="a"), "shelf__name"),
    ],
    ids=str,
)
def test_an_annotation_shows_other_rows(model, annotation, path):
    """
    The warning names what an annotation reads. It goes when that is declared.
    """
    shown = serializer(model, "id")
    annotations = {"shown": annotation}
    assert {"shown": path} == undeclared(shown, annotations=annotations)
    assert {} == undeclared(shown, annotations=annotations, shows=(path,))


def test_an_annotation_shows_nothing_of_other_rows():
    """
    The object's own columns, and other annotations, are left out.
    """
    annotations = {"twice": models.F("count") * 2, "again": models.F("twice") + models.F("shelf")}
    assert {} == undeclared(serializer(Item, "id"), annotations=annotations)


class TestAttributes:
    """Fields that read what only some queries compute."""

    def found(self, serializer_class, **attributes):
        with kind(serializer_class, **attributes):
            return [(one.id, one.msg.split("'")[1]) for one in events_have_what_is_shown()]

    def test_that_no_object_has(self):
        """
        What is neither an attribute of the model nor an annotation is found, until it is declared.
        """
        shown = serializer(Shelf, "name", n=serializers.IntegerField(read_only=True))
        assert [("pillarbox.W111", "n")] == self.found(shown)
        assert [] == self.found(shown, annotations={"n": models.Count("items")})

    @pytest.mark.parametrize(
        ("names", "fields"),
        [
            (["title", "shelf"], {"key": column("shelf_id"), "row": column("pk")}),
            ([], {"names": column("tags.count"), "text": serializers.CharField(source="__str__")}),
            ([], {"both": ITEM(source="*")}),
            ([], {"own": type("Own", (serializers.Field,), {"get_attribute": lambda *_: 1})()}),
        ],
    )
    def test_that_each_object_has(self, names, fields):
        """
        Columns, properties and methods are attributes, and a field of the project may read anything.
        """
        assert [] == self.found(serializer(Item, *names, **fields))

    def test_that_a_payload_sets(self):
        """
        A type that makes its payload itself may set any attribute before.
        """
        shown = serializer(Shelf, n=serializers.IntegerField(read_only=True))

        class Setting(ObjectType):
            name, serializer_class = "setting", shown

            def payload(self, shelf):
                shelf.n = 1
                return super().payload(shelf)

        register(Setting)
        try:
            assert [] == events_have_what_is_shown()
            assert {"n": 1} == object_type("setting").payload(Shelf())
        finally:
            unregister("setting")

    def test_of_the_project(self):
        """
        The project's own serializers, and the library's, read nothing else.
        """
        assert [] == events_have_what_is_shown()


def test_a_path_covers_what_is_on_its_way():
    """
    A longer path covers which rows are related, but not their columns.
    """
    tags = serializers.PrimaryKeyRelatedField(many=True, read_only=True, source="items")
    shown = serializer(Shelf, shown=tags, titles=serializers.ReadOnlyField(source="items.title"))
    assert {"titles": "items__title"} == undeclared(shown, shows=("items__tags__name",))


def test_the_hint_is_the_line_to_write():
    """
    It has the declared paths, and those that are missing.
    """
    shown = serializer(
        Ticket,
        project=serializers.SlugRelatedField("name", read_only=True),
        assignee=serializers.StringRelatedField(),
    )
    with kind(shown, shows=("project__members",)):
        found = payloads_show_what_is_declared()
    assert {
        'Write in Kind: shows = ("project__members", "project__name", "assignee__COLUMN",). '
        "COLUMN stands for each column that is shown."
    } == {message.hint for message in found}
    assert 2 == len(found)


def test_of_a_serializer_without_fields():
    """
    A serializer that isn't made of fields, or isn't used, can't be checked.
    """

    class Own(serializers.BaseSerializer):
        class Meta:
            model = Series

    assert {} == undeclared(Own)
    shown = serializer(Ticket, owner=serializers.ReadOnlyField(source="assignee.email"))
    assert {} == undeclared(shown, payload=lambda self, ticket: {})
    assert {} == undeclared(shown, payload=staticmethod(partial(dict)))  # it has no source


class TestIntegers:
    """Integers that JavaScript can't hold, in a model with several kinds of them."""

    @pytest.fixture
    def big(self):
        with isolate_apps("tests.library"):

            class Big(models.Model):
                id = models.BigIntegerField(primary_key=True)
                count = models.PositiveBigIntegerField()
                half = models.GeneratedField(
                    expression=models.F("count") / 2,
                    output_field=models.BigIntegerField(),
                    db_persist=True,
                )
                near = models.BigIntegerField(
                    validators=[MinValueValidator(-(2**53) + 1), MaxValueValidator(2**53 - 1)]
                )
                far = models.BigIntegerField(validators=[MaxValueValidator(2**53 - 1)])
                small = models.PositiveIntegerField()
                parent = models.ForeignKey("self", models.CASCADE, related_name="children")
                item = models.ForeignKey(Item, models.CASCADE, related_name="+")

                class Meta:
                    app_label = "library"

            yield Big

    def found(self, serializer_class):
        with kind(serializer_class, shows=("parent__count", "children")):
            return [(one.id, one.msg.split("'")[1], one.hint) for one in integers_fit_javascript()]

    def test_are_found(self, big):
        """
        Keys, foreign keys, and columns of related rows are numbers that JavaScript may round.
        """
        names = ("id", "count", "half", "near", "far", "small", "parent", "item", "children")
        shown = serializer(
            big,
            *names,
            above=column("parent.count"),
            up=slug("count", "parent"),
            key=column("parent_id"),
        )
        found = self.found(shown)
        assert {"pillarbox.W110"} == {check for check, *_ in found}
        assert {"id", "count", "half", "far", "parent", "children", "above", "up", "key"} == {
            name for _, name, _ in found
        }

    def test_of_annotations(self, big):
        """
        The sum of such integers is one.
        """
        numbers = {name: serializers.IntegerField(read_only=True) for name in ("total", "number")}
        annotations = {"total": models.Sum("children__count"), "number": models.Count("children")}
        with kind(serializer(big, **numbers), annotations=annotations):
            (warning,) = integers_fit_javascript()
        assert "The field 'total' of 'kind' is a number of 64 bits" in warning.msg

    @pytest.mark.parametrize(
        "field",
        [
            serializers.CharField(source="count"),
            serializers.PrimaryKeyRelatedField(
                source="parent", read_only=True, pk_field=serializers.CharField()
            ),
            serializers.CharField(source="parent.count"),
            HashidField("kind"),
            type("Text", (serializers.IntegerField,), {"to_representation": lambda _, n: str(n)})(
                source="count"
            ),
        ],
        ids=str,
    )
    def test_as_text(self, big, field):
        """
        As text they are harmless.
        """
        assert [] == self.found(serializer(big, shown=field))

    @pytest.mark.parametrize(
        ("field", "line"),
        [
            (column("count"), "shown = serializers.CharField(read_only=True, source='count')."),
            (
                keys("parent"),
                "shown = serializers.PrimaryKeyRelatedField(read_only=True, source='parent', "
                "pk_field=serializers.CharField()).",
            ),
            (
                serializers.PrimaryKeyRelatedField(
                    source="parent", read_only=True, pk_field=serializers.IntegerField()
                ),
                "shown = serializers.PrimaryKeyRelatedField(read_only=True, source='parent', "
                "pk_field=serializers.CharField()).",
            ),
        ],
        ids=str,
    )
    def test_the_hint_is_the_line_to_write(self, big, field, line):
        """
        It declares the field as text.
        """
        ((_, _, hint),) = self.found(serializer(big, shown=field))
        assert f"Show it as text: {line}" in hint

    def test_the_line_of_several(self, big):
        """
        Keys of several rows are declared as text, too.
        """
        ((_, _, hint),) = self.found(serializer(big, "children"))
        line = "children = serializers.PrimaryKeyRelatedField(read_only=True, many=True, pk_field="
        assert line in hint

    def test_of_the_project(self):
        """
        The project and the library show no such integers.
        """
        assert [] == integers_fit_javascript()
