"""Tests of the REST endpoints: members only, public ids only, the same content as notifications."""

import pytest
from django.contrib.auth import get_user_model
from rest_framework.test import APIClient

from apps.tickets.models import Project, Ticket
from pillarbox.models import RIGHTS, NotificationOutbox
from pillarbox.types import hashids
from tests.rendering import render_all

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def api(demo):
    client = APIClient()
    client.force_login(demo)
    return client


def ticket_url(ticket):
    return f"/api/tickets/{hashids.encode('ticket', ticket.pk)}/"


def project_id(project):
    return hashids.encode("project", project.pk)


def announced_payload():
    render_all()
    return NotificationOutbox.objects.exclude(stream=RIGHTS).order_by("-id").first().payload


class TestTickets:
    def test_create_retrieve_update_delete(self, api, project):
        """
        A ticket is created, read, changed and deleted; each response equals the notification.
        """
        made = api.post("/api/tickets/", {"project": project_id(project), "title": "New"})
        assert 201 == made.status_code
        assert made.json() == announced_payload()
        url = f"/api/tickets/{made.json()['id']}/"
        assert made.json() == api.get(url).json()
        for send, data in ((api.patch, {"status": "closed"}), (api.put, made.json())):
            changed = send(url, data)
            assert 200 == changed.status_code
            assert changed.json() == api.get(url).json() == announced_payload()
        assert 204 == api.delete(url).status_code
        assert {"id": made.json()["id"]} == announced_payload()
        assert 404 == api.get(url).status_code

    def test_list_shows_the_users_own(self, api, ticket, other):
        """
        Users see the tickets of their own projects only.
        """
        theirs = Project.objects.create(name="Theirs")
        theirs.members.add(other)
        Ticket.objects.create(project=theirs, title="Secret")
        assert ["The logo is blurred"] == [
            found["title"] for found in api.get("/api/tickets/").json()["results"]
        ]

    @pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
    def test_tickets_of_others_count_as_missing(self, ticket, other, method):
        """
        Tickets of other users are answered exactly like missing ones.
        """
        client = APIClient()
        client.force_login(other)
        answers = [
            getattr(client, method)(url)
            for url in (ticket_url(ticket), ticket_url(Ticket(pk=4711)), "/api/tickets/junk/")
        ]
        assert {404} == {answer.status_code for answer in answers}
        assert 1 == len({answer.content for answer in answers})

    def test_a_stranger_is_refused(self, ticket):
        """
        A request without session or token is refused.
        """
        assert 403 == APIClient().get(ticket_url(ticket)).status_code

    @pytest.mark.parametrize("value", ["junk", 7, None, [], ""])
    def test_project_must_be_an_id(self, api, project, value):
        """
        A value that isn't a project's id is refused under the field's name.
        """
        answer = api.post("/api/tickets/", {"project": value, "title": "New"})
        assert 400 == answer.status_code
        assert ["project"] == list(answer.json())

    def test_project_must_be_the_users(self, api, project):
        """
        Another user's project is refused exactly like a missing one.
        """
        theirs = Project.objects.create(name="Theirs")
        answers = [
            api.post("/api/tickets/", {"project": project_id(named), "title": "New"}).json()
            for named in (theirs, Project(pk=4711))
        ]
        assert {"project"} == set(answers[0])
        assert answers[0] == answers[1]

    def test_assignee_is_a_member_of_the_project(self, api, demo, other, project, ticket):
        """
        Only members of the project can be assigned; unknown users and other projects' members can't.
        """
        office = Project.objects.create(name="Office")
        office.members.add(demo, other)
        get_user_model().objects.create_user("stranger")
        url = ticket_url(ticket)
        assert "demo" == api.patch(url, {"assignee": "demo"}).json()["assignee"]
        assert 400 == api.patch(url, {"assignee": "other"}).status_code
        unknown = [api.patch(url, {"assignee": name}) for name in ("stranger", "nobody")]
        assert {400} == {answer.status_code for answer in unknown}
        assert 200 == api.patch(url, {"project": project_id(project), "assignee": None}).status_code

    def test_a_move_needs_a_member_as_assignee(self, api, demo, other, project, ticket):
        """
        A ticket can't move to a project of which its assignee isn't a member.
        """
        project.members.add(other)
        Ticket.objects.filter(pk=ticket.pk).update(assignee=other)
        office = Project.objects.create(name="Office")
        office.members.add(demo)
        answer = api.patch(ticket_url(ticket), {"project": project_id(office)})
        assert ["assignee"] == list(answer.json())


class TestProjects:
    def test_create_makes_a_member(self, api):
        """
        The creator of a project is its member; the notification equals the response.
        """
        made = api.post("/api/projects/", {"name": "New"})
        assert ["demo"] == made.json()["members"]
        assert made.json() == api.get(f"/api/projects/{made.json()['id']}/").json()
        assert made.json() == announced_payload()

    def test_update_and_delete(self, api, project):
        """
        A project's name can be changed, but not its members; it can be deleted.
        """
        url = f"/api/projects/{project_id(project)}/"
        changed = api.patch(url, {"name": "Intranet", "members": []})
        assert ("Intranet", ["demo"]) == (changed.json()["name"], changed.json()["members"])
        assert changed.json() == announced_payload()
        assert 204 == api.delete(url).status_code

    def test_names_are_shown(self, project, ticket):
        """
        Projects and tickets are displayed by name and title.
        """
        assert ["Website", "The logo is blurred"] == [str(project), str(ticket)]


class TestToken:
    def test_signs_in(self, demo, ticket):
        """
        A token obtained by password gives access like a session.
        """
        client = APIClient()
        answer = client.post("/api/token/", {"username": "demo", "password": "demo"})
        client.credentials(HTTP_AUTHORIZATION=f"Token {answer.json()['token']}")
        assert 200 == client.get(ticket_url(ticket)).status_code

    def test_wrong_password(self, demo):
        """
        A wrong password gets no token.
        """
        answer = APIClient().post("/api/token/", {"username": "demo", "password": "x"})
        assert 400 == answer.status_code
