"""A serializer that shows different people different things is found before it does."""

import pytest
from rest_framework import serializers

from apps.realtime.audience import dependencies
from apps.realtime.checks import payloads_are_for_all
from apps.realtime.registry import ObjectType, register, unregister
from apps.tickets.models import Project, Ticket
from apps.tickets.serializers import ProjectSerializer, TicketSerializer


def fields(**declared):
    return type("Shown", (serializers.Serializer,), declared)


class ByMethod(serializers.Serializer):
    mine = serializers.SerializerMethodField()

    def get_mine(self, instance):
        return self._is_mine(instance)

    def _is_mine(self, instance):
        return self.context["request"].user == instance


class ByRepresentation(serializers.Serializer):
    def to_representation(self, instance):
        return {"id": self.context.get("user")}


class Greeting(serializers.CharField):
    def get_attribute(self, instance):
        return self.context["request"].user.username


class Harmless(serializers.Serializer):
    """Asks only where it takes input, and where a method calls itself."""

    by = serializers.HiddenField(default=serializers.CurrentUserDefault())
    secret = Greeting(write_only=True)
    shown = serializers.SerializerMethodField(method_name="shown_or_not")

    def shown_or_not(self, instance):
        return self.shown_or_not if instance else instance.context

    def validate(self, attrs):
        return {**attrs, "by": self.context["request"].user}


class WithLink(serializers.HyperlinkedModelSerializer):
    class Meta:
        model = Project
        fields = ["url", "name"]


@pytest.mark.parametrize(
    ("found", "serializer"),
    [
        (["S.mine uses self.context in get_mine()"], ByMethod),
        (["S uses self.context in to_representation()"], ByRepresentation),
        (["S.a uses self.context in get_attribute()"], fields(a=Greeting())),
        (["S.a.mine uses self.context in get_mine()"], fields(a=ByMethod())),
        (["S.a.mine uses self.context in get_mine()"], fields(a=ByMethod(many=True))),
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

        def get_mine(self, instance):
            return instance.assignee == self.context["request"].user

    class Kind(ObjectType):
        name = "personal"
        serializer_class = Personal

    class OwnWay(Kind):
        name = "own"

        def payload(self, instance):
            return {}

    assert [] == payloads_are_for_all()
    register(Kind)
    register(OwnWay)
    try:
        (found,) = payloads_are_for_all()
    finally:
        unregister("personal")
        unregister("own")
    assert "realtime.E006" == found.id
    assert "'personal' depends on who asks: Personal.mine" in found.msg
    assert "different object types" in found.hint
