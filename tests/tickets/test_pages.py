"""Tests of the rendered pages: who sees them, at which position, and what forms do."""

import json
import re
import threading
from functools import partial

import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.test import RequestFactory
from django.urls import reverse

from apps.tickets.models import Project, Ticket
from apps.tickets.pages import PROJECTS
from apps.tickets.policy import sockets_url
from pillarbox.relay.relay import Relay
from pillarbox.stream import history
from pillarbox.types.groups import stream_for
from pillarbox.types.registry import object_type

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(client, demo):
    """A browser in which demo is signed in."""
    client.force_login(demo)
    return client


def ticket_url(ticket, name="ticket"):
    return reverse(name, args=[object_type("ticket").public_id(ticket.pk)])


def add_url(project):
    return reverse("add", args=[object_type("project").public_id(project.pk)])


def live_of(answer):
    """Return the initial data of the page's script."""
    (text,) = re.findall(r'<script id="live"[^>]*>(.*?)</script>', answer.content.decode())
    return json.loads(text)


def titles(answer):
    """Return the tickets' titles on the page."""
    return re.findall(r'data-field="title"[^>]*>([^<]+)</a>', answer.content.decode())


class TestPages:
    def test_a_stranger_is_asked_to_sign_in(self, client, project, ticket):
        """
        Without a sign-in, each page redirects to it and back.
        """
        for url in ("/", ticket_url(ticket), ticket_url(ticket, "edit"), add_url(project)):
            assert f"/sign-in/?next={url}" == client.get(url).url
        assert 200 == client.get("/sign-in/").status_code

    def test_signed_in_users_are_redirected(self, browser):
        """
        The sign-in page redirects signed-in users; signing out leads back to it.
        """
        assert "/" == browser.get("/sign-in/").url
        assert "/sign-in/" == browser.post("/sign-out/").url
        assert 302 == browser.get("/").status_code

    def test_accounts_are_named_in_debug_mode_only(self, client, settings):
        """
        The demo accounts are named in debug mode only.
        """
        for debug in (True, False):
            settings.DEBUG = debug
            assert debug == ("demo accounts" in client.get("/sign-in/").content.decode())

    def test_shows_the_users_own(self, browser, project, ticket, other):
        """
        Users see only their own projects and tickets.
        """
        theirs = Project.objects.create(name="Theirs")
        theirs.members.add(other)
        Ticket.objects.create(project=theirs, title="Secret")
        answer = browser.get("/")
        assert ["The logo is blurred"] == titles(answer)
        assert "Theirs" not in answer.content.decode()
        assert 2 == len(live_of(answer)["follow"])

    def test_no_project(self, client, other):
        """
        A user without projects is told how to get one.
        """
        client.force_login(other)
        assert "You aren't a member of any project." in client.get("/").content.decode()

    def test_a_page_fits_into_a_socket(self, browser, demo):
        """
        The page shows no more projects than a socket can subscribe to.
        """
        made = Project.objects.bulk_create([Project(name=f"P{n:03}") for n in range(PROJECTS + 5)])
        demo.projects.add(*made)
        answer = browser.get("/")
        assert 2 * PROJECTS == len(live_of(answer)["follow"])
        assert PROJECTS == answer.content.decode().count('class="project"')

    @pytest.mark.parametrize("name", ["ticket", "edit", "delete"])
    def test_tickets_of_others_count_as_missing(self, client, other, ticket, name):
        """
        Tickets of other users count as missing, and asking for them creates no streams.
        """
        client.force_login(other)
        send = client.post if name == "delete" else client.get
        for found in (ticket, Ticket(pk=4711)):
            assert 404 == send(ticket_url(found, name)).status_code
        assert 404 == send(reverse(name, args=["junk"])).status_code
        assert 404 == client.get(add_url(ticket.project)).status_code
        assert not history.existing_stream_states({"ticket:4711": None}, using="default")

    def test_deleting_needs_a_post(self, browser, ticket):
        """
        Tickets are deleted by POST only.
        """
        assert 405 == browser.get(ticket_url(ticket, "delete")).status_code
        assert "/" == browser.post(ticket_url(ticket, "delete")).url
        assert not Ticket.objects.exists()

    def test_policy(self, browser, ticket):
        """
        Each page allows only its own files and sockets, and isn't cached.
        """
        for url in ("/", ticket_url(ticket), ticket_url(ticket, "edit")):
            answer = browser.get(url)
            policy = answer["Content-Security-Policy"]
            assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
            assert f"connect-src {live_of(answer)['url']};" in policy
            assert "unsafe" not in policy
            assert "no-store" == answer["Cache-Control"]
            assert not re.search(
                r"<style|\sstyle=|\son\w+=|<script>|https?://", answer.content.decode()
            )


class TestForms:
    VALUES = {"title": "New", "description": "", "status": "open", "priority": "3", "assignee": ""}

    def test_add(self, browser, project):
        """
        The form creates a ticket, and leads to its page.
        """
        assert "Add a ticket" in browser.get(add_url(project)).content.decode()
        answer = browser.post(add_url(project), self.VALUES)
        made = Ticket.objects.get()
        assert (project, "New", 3, None) == (made.project, made.title, made.priority, made.assignee)
        assert ticket_url(made) == answer.url

    def test_edit(self, browser, demo, ticket):
        """
        The form shows the ticket's values, and changes them.
        """
        Ticket.objects.filter(pk=ticket.pk).update(
            assignee=demo, status="closed", description="a\nb"
        )
        form = browser.get(ticket_url(ticket, "edit")).content.decode()
        for part in (
            'value="The logo is blurred"',
            ">a\nb</textarea>",
            "selected>demo",
            '"closed" selected',
        ):
            assert part in form
        browser.post(ticket_url(ticket, "edit"), {**self.VALUES, "assignee": "demo"})
        ticket.refresh_from_db()
        assert ("New", "open", demo) == (ticket.title, ticket.status, ticket.assignee)

    @pytest.mark.parametrize(
        ("field", "value", "words"),
        [
            ("title", "", "This field may not be blank."),
            ("title", "x" * 201, "no more than 200 characters"),
            ("status", "lost", "is not a valid choice."),
            ("priority", "9", "is not a valid choice."),
            ("assignee", "other", "does not exist"),
        ],
    )
    def test_an_invalid_form(self, browser, other, ticket, field, value, words):
        """
        An invalid form is shown again, with its values and an error at the field.
        """
        answer = browser.post(ticket_url(ticket, "edit"), {**self.VALUES, field: value})
        assert 400 == answer.status_code
        assert words in answer.content.decode().replace("&quot;", '"')
        assert 'value="New"' in answer.content.decode() or field == "title"
        assert ["ticket"] == [entry["object_type"] for entry in live_of(answer)["follow"]]
        ticket.refresh_from_db()
        assert "The logo is blurred" == ticket.title

    def test_an_invalid_new_ticket(self, browser, project):
        """
        An invalid form for a new ticket is shown again, without subscriptions.
        """
        answer = browser.post(add_url(project), {**self.VALUES, "title": " ", "description": "x"})
        assert (400, []) == (answer.status_code, live_of(answer)["follow"])
        assert ">x</textarea>" in answer.content.decode()
        assert not Ticket.objects.exists()

    def test_the_project_cannot_be_changed(self, browser, demo, ticket):
        """
        The form can't move the ticket to another project.
        """
        office = Project.objects.create(name="Office")
        office.members.add(demo)
        smuggled = object_type("project").public_id(office.pk)
        browser.post(ticket_url(ticket, "edit"), {**self.VALUES, "project": smuggled})
        ticket.refresh_from_db()
        assert ("New", "Website") == (ticket.title, ticket.project.name)


@pytest.mark.parametrize(
    ("expected", "debug", "host"),
    [
        ("ws://localhost:8001/ws/notifications/", True, "localhost:8000"),
        ("ws://[::1]:8001/ws/notifications/", True, "[::1]:8000"),
        ("ws://127.0.0.1/ws/notifications/", False, "127.0.0.1"),
    ],
)
def test_where_the_sockets_are(settings, expected, debug, host):
    """
    In debug mode sockets are at Daphne's port, otherwise at the page's host.
    """
    settings.DEBUG, settings.ALLOWED_HOSTS, settings.DAPHNE_PORT = debug, ["*"], 8001
    assert expected == sockets_url(RequestFactory().get("/", headers={"host": host}))


def test_where_the_sockets_are_with_tls(settings):
    """
    A page over TLS has sockets over TLS.
    """
    settings.DEBUG, settings.ALLOWED_HOSTS = False, ["*"]
    request = RequestFactory().get("/", secure=True, headers={"host": "shop.example"})
    assert "wss://shop.example/ws/notifications/" == sockets_url(request)


class Interruption:
    """A wrapper that commits and numbers a change before the nth statement of a view."""

    def __init__(self, before, change):
        self.left, self.change, self.has_been = before, change, False

    def __call__(self, execute, *rest):
        if self.left == 0:
            self.has_been = True
            thread = threading.Thread(target=self._run)
            thread.start()
            thread.join()
        self.left -= 1
        return execute(*rest)

    def _run(self):
        try:
            self.change()
            with Relay(using="default") as relay:
                relay.drain()
        finally:
            connections.close_all()


@pytest.mark.django_db(transaction=True)
class TestNoGap:
    """A change during rendering is on the page, or after the page's position, or both."""

    @pytest.fixture
    def changes(self, demo, project, ticket, relay):
        """The changes by name. The ticket has an assignee, whom the view reads after the ticket."""
        Ticket.objects.filter(pk=ticket.pk).update(assignee=demo)
        relay.drain()
        return {
            "update": partial(Ticket.objects.filter(pk=ticket.pk).update, title="After"),
            "create": partial(Ticket.objects.create, project=project, title="After"),
            "delete": partial(Ticket.objects.filter(pk=ticket.pk).delete),
        }

    @pytest.mark.parametrize("name", ["update", "create", "delete"])
    def test_whenever_it_changes(self, browser, demo, project, ticket, changes, name):
        """
        Before whichever statement a change is committed, page and notifications together show it.
        """
        statement, seen = 0, set()
        while True:
            interruption = Interruption(statement, changes[name])
            with connection.execute_wrapper(interruption):
                answer = browser.get("/")
            if not interruption.has_been:
                break
            after = [found.title for found in Ticket.objects.all()]
            shown = titles(answer)
            is_received = self._is_received(answer, project)
            assert shown == after or is_received, (statement, shown, after)
            seen.add((shown == after, is_received))
            if name != "create":
                self._restore(project, ticket, demo)
            statement += 1
        # Before the position it is only on the page, then both, and after the rows only a notification.
        assert {(True, False), (True, True), (False, True)} == seen

    def _is_received(self, answer, project):
        """True if the page's position is followed by a notification about the tickets."""
        (since,) = [
            entry["since"]
            for entry in live_of(answer)["follow"]
            if entry["object_type"] == "project.tickets"
        ]
        stream = stream_for("project.tickets", project.pk)
        assert since["epoch"] == history.head(stream, using="default").epoch
        return bool(history.after(stream, since["offset"], 10, using="default"))

    def _restore(self, project, ticket, demo):
        values = {"title": "Before", "project": project, "assignee": demo}
        Ticket.objects.update_or_create(pk=ticket.pk, defaults=values)
        with Relay(using="default") as relay:
            relay.drain()


def test_the_demo_is_visible(client, settings):
    """
    The demo's members see its projects.
    """
    settings.DEBUG = True
    call_command("demo")
    assert client.login(username="other", password="other")
    answer = client.get("/").content.decode()
    assert "Website" in answer
    assert "Office" not in answer
