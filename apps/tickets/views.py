"""The REST endpoints. Serializers have their logic, querysets their permissions."""

from typing import Any

from django.db import transaction
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ModelViewSet

from pillarbox.live import object_type

from .models import Project, Ticket
from .serializers import ProjectSerializer, TicketSerializer
from .throttling import SignInThrottle, hashing_slot

NO_KEY = -1


class HashidViewSet(ModelViewSet):  # type: ignore[type-arg]  # not generic at run time
    """Endpoints of objects by public id; objects that the user may not see count as missing."""

    object_type: str
    lookup_url_kwarg = "id"

    # In transactions, because only rows of a transaction get the request's mark.
    perform_create = transaction.atomic(ModelViewSet.perform_create)
    perform_update = transaction.atomic(ModelViewSet.perform_update)
    perform_destroy = transaction.atomic(ModelViewSet.perform_destroy)

    def get_queryset(self) -> Any:
        queryset: Any = super().get_queryset()
        return queryset.visible_to(self.request.user)

    def get_object(self) -> Any:
        pk = object_type(self.object_type).key(self.kwargs["id"])
        # An invalid id is looked up like a missing object's, so that both get the same answer.
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


class TokenView(ObtainAuthToken):
    """An endpoint that returns a token for a name and a password."""

    parser_classes = APIView.parser_classes
    throttle_classes = [SignInThrottle]

    def post(self, *args: Any, **kwargs: Any) -> Response:
        """Called with an attempt that isn't throttled."""
        with hashing_slot():
            return super().post(*args, **kwargs)
