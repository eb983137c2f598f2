"""A serializer that shows different people different things is found before it does."""

# "Only read" are methods whose source is looked at: nothing calls them.

import pytest
from rest_framework import serializers

from apps.realtime.audience import dependencies, found_in
from apps.realtime.checks import payloads_are_for_all
from apps.realtime.registry import ObjectType, register, unregister
from apps.tickets.models import Project, Ticket
from apps.tickets.serializers import ProjectSerializer, TicketSerializer


def fields(**declared):
    return type("Shown", (serializers.Serializer,), declared)


class ByMethod(serializers.Serializer):
    mine = serializers.SerializerMethodField()

    def get_mine(self, instance):  # pragma: no cover  # only read
        return self._is_mine(instance)

    def _is_mine(self, instance):  # pragma: no cover  # only read
        return self.context["request"].user == instance


class ByRepresentation(serializers.Serializer):
    def to_representation(self, instance):  # pragma: no cover  # only read
        return {"id": self.context.get("user")}


class Greeting(serializers.CharField):
    def get_attribute(self, instance):  # pragma: no cover  # only read
        return self.context["request"].user.username


class ByFields(serializers.Serializer):
    def get_fields(self):
        return {"a": serializers.CharField()} if self.context.get("request") else {}


class ByInit(serializers.Serializer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.context.get("request")


class ByCrash(serializers.Serializer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.context["request"]


class ByBase(ByRepresentation):
    def to_representation(this, instance):  # noqa: N805  # pragma: no cover  # only read
        return super().to_representation(instance)


class ByProperty(serializers.Serializer):
    mine = serializers.SerializerMethodField()

    @property
    def user(self):  # pragma: no cover  # only read
        return self.root.context["user"]

    def get_mine(self, instance):  # pragma: no cover  # only read
        return instance == self.user


class Harmless(serializers.Serializer):
    """Asks only where it takes input, and where a method calls itself."""

    by = serializers.HiddenField(default=serializers.CurrentUserDefault())
    secret = Greeting(write_only=True)
    shown = serializers.SerializerMethodField(method_name="shown_or_not")

    def shown_or_not(self, instance):  # pragma: no cover  # only read
        return self.shown_or_not if instance else instance.context

    def validate(self, attrs):  # pragma: no cover  # only read
        return {**attrs, "by": self.context["request"].user}


class WithLink(serializers.HyperlinkedModelSerializer):
    class Meta:
        model = Project
        fields = ["url", "name"]


@pytest.mark.parametrize(
    ("found", "serializer"),
    [
        (["S.mine uses its context in get_mine()"], ByMethod),
        (["S uses its context in to_representation()"], ByRepresentation),
        (["S.a uses its context in get_attribute()"], fields(a=Greeting())),
        (["S.a.mine uses its context in get_mine()"], fields(a=ByMethod())),
        (["S.a.mine uses its context in get_mine()"], fields(a=ByMethod(many=True))),
        (["S uses its context in get_fields()"], ByFields),
        (["S uses its context in __init__()"], ByInit),
        (["S uses its context in to_representation()"], ByBase),
        (["S.mine uses its context in get_mine()"], ByProperty),
        (["S.url is a hyperlink, which needs a request"], WithLink),
        (
            ["S.a is a hyperlink, which needs a request"],
            fields(
                a=serializers.HyperlinkedRelatedField(
                    view_name="x", queryset=Ticket.objects.none(), many=True
                )
            ),
        ),
        ([], Harmless),
        ([], TicketSerializer),
        ([], ProjectSerializer),
        ([], fields(a=serializers.ListField(child=serializers.CharField()))),
    ],
    ids=[
        "method",
        "representation",
        "field",
        "nested",
        "many",
        "get_fields",
        "init",
        "base",
        "property",
        "url",
        "hyperlinks",
        "harmless",
        "ticket",
        "project",
        "list",
    ],
)
def test_dependencies(found, serializer):
    """
    Whatever is taken from the context to show an object is named, and nothing else.
    """
    assert found == list(dependencies(serializer(), "S"))


def test_a_serializer_that_needs_a_request_to_be_made():
    """
    It is found as well, and named with what it missed.
    """
    assert ["ByCrash can't be made without a request: KeyError('request')"] == found_in(ByCrash)


def test_a_method_without_source_is_trusted():
    """
    What can't be read can't be judged.
    """
    scope = {"serializers": serializers}
    exec(
        "class Made(serializers.Serializer):\n def to_representation(self, o): return self.context",
        scope,
    )
    assert [] == list(dependencies(scope["Made"](), "S"))


def test_is_an_error_of_the_check():
    """
    The check names the type and what it asks for, and says what to do.
    """

    class Personal(TicketSerializer):
        mine = serializers.SerializerMethodField()

        class Meta(TicketSerializer.Meta):
            fields = [*TicketSerializer.Meta.fields, "mine"]

        def get_mine(self, instance):  # pragma: no cover  # only read
            return instance.assignee == self.context["request"].user

    class Kind(ObjectType):
        name = "personal"
        serializer_class = Personal

    class OwnWay(Kind):
        name = "own"

        def payload(self, instance):  # pragma: no cover  # only read
            return {}

    class MoreOfIt(Kind):
        name = "more"

        def payload(self, instance):  # pragma: no cover  # only read
            return {**super().payload(instance), "more": 1}

    assert [] == payloads_are_for_all()
    for kind in (Kind, OwnWay, MoreOfIt):
        register(kind)
    try:
        found, more = payloads_are_for_all()
    finally:
        for kind in (Kind, OwnWay, MoreOfIt):
            unregister(kind.name)
    assert "realtime.E006" == found.id
    assert "'personal' depends on who asks: Personal.mine" in found.msg
    assert "different object types" in found.hint
    assert "'more' depends on who asks" in more.msg
