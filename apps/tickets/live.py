"""What of the tickets is live, who may see it, and what subscribers see of it."""

from typing import Any

from apps.realtime.registry import ObjectType, register

from .models import Project, ProjectQuerySet, Ticket, TicketQuerySet
from .serializers import ProjectSerializer, TicketSerializer


@register
class ProjectType(ObjectType):
    name = "project"
    serializer_class = ProjectSerializer
    many_to_many = ("members",)
    grants = ("members",)

    def visible_to(self, user: Any) -> ProjectQuerySet:
        return Project.objects.visible_to(user)


@register
class TicketType(ObjectType):
    name = "ticket"
    serializer_class = TicketSerializer
    collections = {"project.tickets": "project"}

    def visible_to(self, user: Any) -> TicketQuerySet:
        return Ticket.objects.visible_to(user)
