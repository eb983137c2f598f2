"""The pages' forms, validated by the API's serializer."""

from collections.abc import Mapping
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from pillarbox.live import object_type, positions

from .models import Project, Ticket
from .pages import live, page, visible_ticket
from .serializers import TicketSerializer


@page
def add(request: HttpRequest, public_id: str) -> HttpResponse:
    """Add a ticket to a project."""
    pk = object_type("project").key(public_id)
    project = Project.objects.visible_to(request.user).filter(pk=pk).first()
    if project is None:
        raise Http404
    return _save(request, project, None) if request.method == "POST" else _show(request, project)


@page
def edit(request: HttpRequest, public_id: str) -> HttpResponse:
    """Change a ticket."""
    found = visible_ticket(request, public_id)
    if request.method == "POST":
        return _save(request, found.project, found)
    # As on the other pages, the position must be older than the values.
    followed = positions([("ticket", found.pk)])
    found = visible_ticket(request, public_id)
    values = TicketSerializer(found).data
    return _show(request, found.project, values, ticket=values, followed=followed)


def _save(request: HttpRequest, project: Project, ticket: Ticket | None) -> HttpResponse:
    """Save the form, or show it again with its errors."""
    sent = request.POST.dict() | {"project": object_type("project").public_id(project.pk)}
    serializer = TicketSerializer(ticket, data=sent, context={"request": request})
    if serializer.is_valid():
        saved = serializer.save()
        return redirect("ticket", object_type("ticket").public_id(saved.pk))
    if ticket is None:
        return _show(request, project, request.POST, errors=serializer.errors)
    followed, shown = positions([("ticket", ticket.pk)]), TicketSerializer(ticket).data
    return _show(
        request, project, request.POST, ticket=shown, followed=followed, errors=serializer.errors
    )


def _show(
    request: HttpRequest,
    project: Project,
    values: Mapping[str, Any] | None = None,
    *,
    ticket: Mapping[str, Any] | None = None,
    followed: list[dict[str, Any]] | None = None,
    errors: Any = None,
) -> HttpResponse:
    """Show the form with values: of ``ticket``, or of a new one. ``errors`` are by field."""
    context = {
        "ticket": ticket,
        "project": project,
        "members": project.members.order_by("username"),
        "values": values,
        "errors": errors,
        "statuses": Ticket.Status.choices,
        "priorities": Ticket.Priority.choices,
        "live": live(request, followed or []),
    }
    return render(request, "tickets/form.html", context, status=400 if errors else 200)
