"""Serializers whose payload depends on the user or the request are detected."""

# Methods marked "only read" are never called: the check reads their source.

import pytest
from rest_framework import serializers

from apps.tickets.models import Project, Ticket
from apps.tickets.serializers import ProjectSerializer, TicketSerializer
from pillarbox.checks.payloads import payloads_depend_on_no_user
from pillarbox.types.context_uses import context_uses, context_uses_of_field
from pillarbox.types.registry import ObjectType, register, unregister


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
    """Uses its context only to validate input. One of its methods calls itself."""

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
def test_uses_of_the_context_are_found(found, serializer):
    """
    Each use of the context to render an object is found, and nothing else.
    """
    assert found == list(context_uses_of_field(serializer(), "S"))


def test_a_serializer_that_needs_a_request_to_be_made():
    """
    A serializer that can't be made without a request is found, with its error.
    """
    assert ["ByCrash can't be made without a request: KeyError('request')"] == context_uses(ByCrash)


def test_a_method_without_source_is_trusted():
    """
    A method whose source can't be read counts as harmless.
    """
    scope = {"serializers": serializers}
    exec(
        "class Made(serializers.Serializer):\n def to_representation(self, o): return self.context",
        scope,
    )
    assert [] == list(context_uses_of_field(scope["Made"](), "S"))


def test_is_an_error_of_the_check():
    """
    The check names the type and the use of the context, and gives a hint.
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

    assert [] == payloads_depend_on_no_user()
    for kind in (Kind, OwnWay, MoreOfIt):
        register(kind)
    try:
        found, more = payloads_depend_on_no_user()
    finally:
        for kind in (Kind, OwnWay, MoreOfIt):
            unregister(kind.name)
    assert "pillarbox.E106" == found.id
    assert "'personal' must not depend on the user: Personal.mine" in found.msg
    assert "for each kind of subscriber" in found.hint
    assert "'more' must not depend on the user" in more.msg
