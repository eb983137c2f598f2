"""The serializers of the API and of the notifications."""

from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from rest_framework import serializers

from pillarbox.live import HashidField, HashidRelatedField

from .models import Project, Ticket


class ProjectSerializer(serializers.ModelSerializer[Project]):
    id = HashidField("project")
    members: Any = serializers.SlugRelatedField("username", many=True, read_only=True)

    class Meta:
        model = Project
        fields = ["id", "name", "members", "created", "modified"]
        read_only_fields = ["created", "modified"]

    @transaction.atomic
    def create(self, validated_data: dict[str, Any]) -> Project:
        """Create a project, and make its creator a member."""
        project = super().create(validated_data)
        project.members.add(self.context["request"].user)
        return project


class ColleagueField(serializers.SlugRelatedField):  # type: ignore[type-arg]  # not generic at run time
    """A user, by name, who shares a project with the request's user. Other users are refused."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("username", **kwargs)

    def get_queryset(self) -> Any:
        projects = Project.objects.visible_to(self.context["request"].user)
        return get_user_model().objects.filter(projects__in=projects).distinct()

    def to_internal_value(self, data: Any) -> Any:
        """Return the user of this name. PostgreSQL can't be asked for a NUL."""
        if "\0" in str(data):
            self.fail("does_not_exist", slug_name=self.slug_field, value=data)
        return super().to_internal_value(data)


class TicketSerializer(serializers.ModelSerializer[Ticket]):
    id = HashidField("ticket")
    project = HashidRelatedField("project")
    assignee = ColleagueField(required=False, allow_null=True)

    class Meta:
        model = Ticket
        fields = [
            "id",
            "project",
            "title",
            "description",
            "status",
            "priority",
            "assignee",
            "created",
            "modified",
        ]
        read_only_fields = ["created", "modified"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Check that the assignee is a member of the ticket's project."""
        project = attrs.get("project") or self.instance.project  # type: ignore[union-attr]
        assignee = attrs.get("assignee", getattr(self.instance, "assignee", None))
        if assignee is not None and not project.members.filter(pk=assignee.pk).exists():
            raise serializers.ValidationError({"assignee": "Expected a member of the project."})
        return attrs
