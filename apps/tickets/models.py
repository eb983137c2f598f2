"""Projects and their tickets. `live.py` says how they are announced."""

from typing import Any, Self

from django.conf import settings
from django.db import models
from model_utils import FieldTracker
from model_utils.models import TimeStampedModel


class ProjectQuerySet(models.QuerySet["Project"]):
    def visible_to(self, user: Any) -> Self:
        """Return the projects of which the user is a member."""
        return self.filter(members=user)


class Project(TimeStampedModel):
    name = models.CharField(max_length=100)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="projects", blank=True)

    tracker = FieldTracker(fields=["name"])
    objects = ProjectQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name


class TicketQuerySet(models.QuerySet["Ticket"]):
    def visible_to(self, user: Any) -> Self:
        """Return the tickets of the user's projects."""
        return self.filter(project__members=user)


class Ticket(TimeStampedModel):
    class Status(models.TextChoices):
        OPEN = "open", "open"
        IN_PROGRESS = "in_progress", "in progress"
        CLOSED = "closed", "closed"

    class Priority(models.IntegerChoices):
        LOW = 1, "low"
        NORMAL = 2, "normal"
        HIGH = 3, "high"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="tickets")
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    status = models.CharField(max_length=20, choices=Status, default=Status.OPEN)
    priority = models.PositiveSmallIntegerField(choices=Priority, default=Priority.NORMAL)
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="tickets",
    )

    tracker = FieldTracker(
        fields=["project_id", "title", "description", "status", "priority", "assignee_id"]
    )
    objects = TicketQuerySet.as_manager()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.title
