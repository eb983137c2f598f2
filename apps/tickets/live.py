"""The object types: what is announced of projects and tickets, to whom, and how it looks."""

from typing import Any

from pillarbox.live import ObjectType, register

from .models import Project, ProjectQuerySet, Ticket, TicketQuerySet
from .serializers import ProjectSerializer, TicketSerializer


@register
class ProjectType(ObjectType):
    name = "project"
    serializer_class = ProjectSerializer
    shows = ("members__username",)
    grants = ("members",)

    def visible_to(self, user: Any) -> ProjectQuerySet:
        return Project.objects.visible_to(user)


@register
class TicketType(ObjectType):
    name = "ticket"
    serializer_class = TicketSerializer
    collections = {"project.tickets": "project"}
    shows = ("assignee__username",)

    def visible_to(self, user: Any) -> TicketQuerySet:
        return Ticket.objects.visible_to(user)
