"""The pages: rendered by the server at a position, and updated live from there."""

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

from pillarbox.live import object_type, positions

from .models import Project, Ticket
from .policy import View, sockets_url, with_policy
from .refusals import not_found
from .serializers import ProjectSerializer, TicketSerializer
from .templatetags.labels import LABELS
from .throttling import throttled

#: Most projects on a page. Each takes two subscriptions, and a socket may have 200.
PROJECTS = 50


def page(view: View) -> View:
    """Return a page that requires a sign-in; its 404 has the same policy as the page."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return with_policy(login_required(view))(request, *args, **kwargs)
        except Http404 as error:  # in debug mode Django would show its own page
            return not_found(request, error)

    return answer


@page
@require_safe
def projects(request: HttpRequest) -> HttpResponse:
    """Show the tickets of the user's projects."""
    keys = list(Project.objects.visible_to(request.user).values_list("pk", flat=True)[:PROJECTS])
    subjects = [(name, pk) for pk in keys for name in ("project", "project.tickets")]
    # Positions come first, so that a change before the rows are read is shown, and then received once more.
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


@throttled
@with_policy
def sign_in(request: HttpRequest) -> HttpResponseBase:
    """Sign in. In debug mode the page names the demo's accounts."""
    view = LoginView.as_view(
        template_name="tickets/sign_in.html",
        redirect_authenticated_user=True,
        extra_context={"debug": settings.DEBUG},
    )
    return view(request)


def live(request: HttpRequest, followed: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the initial data of the page's script."""
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
