"""The pages: rendered by the server, then kept live from the position that they were rendered at."""

from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from apps.realtime.registry import object_type
from apps.realtime.rendered import positions

from .models import Project, Ticket
from .policy import View, sockets_url, with_policy
from .refusals import not_found
from .serializers import ProjectSerializer, TicketSerializer
from .templatetags.labels import LABELS

#: A page follows each project twice, and a socket has room for 200 subscriptions.
PROJECTS = 50


def page(view: View) -> View:
    """A page is for who is signed in; what isn't there is said under the same policy."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return with_policy(login_required(view))(request, *args, **kwargs)
        except Http404 as error:  # while debugging, Django would explain it at length
            return not_found(request, error)

    return answer


@page
@require_safe
def projects(request: HttpRequest) -> HttpResponse:
    """Show the tickets of the user's projects."""
    keys = list(Project.objects.visible_to(request.user).values_list("pk", flat=True)[:PROJECTS])
    subjects = [(name, pk) for pk in keys for name in ("project", "project.tickets")]
    # First the positions: what changes before the rows are read is in the rows, and is told once more.
    followed = positions(subjects)
    found = Project.objects.visible_to(request.user).filter(pk__in=keys)
    shown = found.prefetch_related("members", "tickets__assignee")
    return render(
        request,
        "tickets/projects.html",
        {
            "projects": [
                ProjectSerializer(project).data | {"tickets": _rows(project)} for project in shown
            ],
            "live": live(request, followed),
        },
    )


@page
@require_safe
def ticket(request: HttpRequest, public_id: str) -> HttpResponse:
    """Show a ticket."""
    pk = visible_ticket(request, public_id).pk
    followed = positions([("ticket", pk)])
    found = visible_ticket(request, public_id)
    row = TicketSerializer(found).data
    context = {"ticket": row, "project": found.project, "live": live(request, followed)}
    return render(request, "tickets/ticket.html", context)


@page
@require_POST
def delete(request: HttpRequest, public_id: str) -> HttpResponse:
    """Delete a ticket."""
    visible_ticket(request, public_id).delete()
    return redirect("projects")


@with_policy
def sign_in(request: HttpRequest) -> HttpResponseBase:
    """Let somebody in; the demo's accounts are named while debugging."""
    view = LoginView.as_view(
        template_name="tickets/sign_in.html",
        redirect_authenticated_user=True,
        extra_context={"debug": settings.DEBUG},
    )
    return view(request)


def live(request: HttpRequest, followed: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the page's script begins with."""
    return {
        "url": sockets_url(request),
        "user": request.user.get_username(),
        "signIn": f"{reverse('sign-in')}?next={request.path}",
        "follow": followed,
        "labels": LABELS,
    }


def visible_ticket(request: HttpRequest, public_id: str) -> Ticket:
    """Return a ticket that the user may see. Raises Http404."""
    found = Ticket.objects.visible_to(request.user).select_related("assignee", "project")
    if (ticket := found.filter(pk=object_type("ticket").key(public_id)).first()) is None:
        raise Http404
    return ticket


def _rows(project: Project) -> list[dict[str, Any]]:
    tickets = sorted(project.tickets.all(), key=lambda ticket: (ticket.created, ticket.pk))
    return TicketSerializer(tickets, many=True).data  # type: ignore[return-value]
