"""Tests of changes in Django's admin, which are announced like any other."""

import pytest
from django.test import Client
from django.urls import reverse

from apps.tickets.models import Ticket
from pillarbox.models import NotificationOutbox
from tests.rendering import render_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


@pytest.fixture
def client(admin):
    client = Client()
    client.force_login(admin)
    return client


def events():
    render_all()
    rows = NotificationOutbox.objects.filter(stream__startswith="ticket:")
    return sorted(rows.values_list("event", "payload__title"))


def test_inlines(client, project, ticket, demo):
    """
    A project's form changes, adds and deletes a ticket; each change is announced.
    """
    doomed = Ticket.objects.create(project=project, title="Doomed")
    NotificationOutbox.objects.all().delete()
    form = {
        "name": "Intranet",
        "members": [demo.pk],
        "tickets-TOTAL_FORMS": 3,
        "tickets-INITIAL_FORMS": 2,
    }
    rows = [(ticket.pk, "Changed"), (doomed.pk, "Doomed"), ("", "Added")]
    for number, (pk, title) in enumerate(rows):
        row = {"id": pk, "project": project.pk, "title": title, "status": "open", "priority": 2}
        form |= {f"tickets-{number}-{name}": value for name, value in row.items()}
    form["tickets-1-DELETE"] = "on"
    answer = client.post(reverse("admin:tickets_project_change", args=[project.pk]), form)
    assert 302 == answer.status_code, answer.context["errors"]
    assert [
        ("CREATE_TICKET", "Added"),
        ("DELETE_TICKET", None),
        ("UPDATE_TICKET", "Changed"),
    ] == events()
    assert NotificationOutbox.objects.filter(event="UPDATE_PROJECT").exists()


def test_bulk_delete(client, ticket, project):
    """
    The action "delete selected" announces each deletion.
    """
    Ticket.objects.create(project=project, title="Second")
    NotificationOutbox.objects.all().delete()
    selected = list(Ticket.objects.values_list("pk", flat=True))
    form = {"action": "delete_selected", "_selected_action": selected, "post": "yes"}
    assert 302 == client.post(reverse("admin:tickets_ticket_changelist"), form).status_code
    assert not Ticket.objects.exists()
    assert [("DELETE_TICKET", None)] * 2 == events()


def test_a_whole_project(client, ticket, project):
    """
    Deleting a project announces its deletion and its tickets'.
    """
    url = reverse("admin:tickets_project_delete", args=[project.pk])
    assert 302 == client.post(url, {"post": "yes"}).status_code
    assert [("DELETE_TICKET", None)] == events()
    assert NotificationOutbox.objects.filter(event="DELETE_PROJECT").exists()
