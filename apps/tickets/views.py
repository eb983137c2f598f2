"""The REST endpoints. Their logic is in the serializers, who may see what in the querysets."""

from typing import Any

from rest_framework.viewsets import ModelViewSet

from apps.realtime.registry import object_type

from .models import Project, Ticket
from .serializers import ProjectSerializer, TicketSerializer

NO_KEY = -1


class HashidViewSet(ModelViewSet):  # type: ignore[type-arg]  # not generic at run time
    """Objects by their public id; what the user may not see does not exist."""

    object_type: str
    lookup_url_kwarg = "id"

    def get_queryset(self) -> Any:
        queryset: Any = super().get_queryset()
        return queryset.visible_to(self.request.user)

    def get_object(self) -> Any:
        pk = object_type(self.object_type).key(self.kwargs["id"])
        # An id of nothing goes the way of an id that no object has, and gets the same answer.
        self.kwargs["id"] = NO_KEY if pk is None else pk
        return super().get_object()


class ProjectViewSet(HashidViewSet):
    object_type = "project"
    queryset = Project.objects.prefetch_related("members")
    serializer_class = ProjectSerializer


class TicketViewSet(HashidViewSet):
    object_type = "ticket"
    queryset = Ticket.objects.select_related("assignee")
    serializer_class = TicketSerializer
