"""Tests of the error pages: the site's look and policy, and nothing about other users' objects."""

import re
from html import unescape

import pytest
from django.test import Client, RequestFactory, override_settings
from django.urls import get_resolver

from apps.tickets.models import Ticket
from apps.tickets.policy import POLICY
from config import urls
from pillarbox.types.registry import object_type

pytestmark = pytest.mark.django_db
#: Settings of a deployment behind a proxy that terminates TLS.
DEPLOYED = {"DEBUG": False, "ALLOWED_HOSTS": ["testserver"], "SECURE_SSL_REDIRECT": False}


def assert_shows(answer, status, words):
    """Assert that the answer is an error page of ours."""
    assert (status, True) == (answer.status_code, words in unescape(answer.content.decode()))
    assert POLICY.format(sockets="'none'") == answer["Content-Security-Policy"]
    assert "no-store" == answer["Cache-Control"]
    assert not re.search(r"<style|\sstyle=|<script|https?://", answer.content.decode())


@pytest.mark.parametrize("debug", [False, True])
def test_objects_of_others_look_missing(client, settings, demo, other, ticket, debug):
    """
    Objects of other users are answered byte for byte like missing ones, even in debug mode.
    """
    settings.DEBUG = debug
    client.force_login(other)
    answers = [
        client.get(f"/tickets/{object_type('ticket').public_id(pk)}/{action}")
        for pk in (ticket.pk, 4711)
        for action in ("", "edit/")
    ]
    assert_shows(answers[0], 404, "There is no such page, or you may not see it.")
    assert 1 == len({answer.content for answer in answers})


@override_settings(**DEPLOYED)
def test_an_unknown_address(client):
    """
    An unknown address is answered by our page, without a sign-in.
    """
    assert_shows(client.get("/nowhere/"), 404, "There is no such page")


@override_settings(**DEPLOYED)
def test_a_host_that_is_not_served(client):
    """
    A request for another host is answered with 400.
    """
    answer = client.get("/", headers={"host": "elsewhere.example"})
    assert_shows(answer, 400, "can't process this request")


@pytest.mark.parametrize("path", ["edit/", "delete/"])
def test_a_form_of_an_ended_session(demo, ticket, path):
    """
    A form without the session's CSRF token changes nothing, and says what to do.
    """
    client = Client(enforce_csrf_checks=True)
    client.force_login(demo)
    url = f"/tickets/{object_type('ticket').public_id(ticket.pk)}/{path}"
    answer = client.post(url, {"title": "Forged", "status": "open", "priority": "2"})
    assert_shows(answer, 403, "Nothing was saved.")
    assert "The logo is blurred" == Ticket.objects.get().title


@pytest.mark.parametrize(
    "origin", ["http://testserver:8443", "https://testserver", "https://elsewhere.example"]
)
def test_a_form_from_another_address(caplog, origin):
    """
    A form from another port, scheme or host says what an operator has to look at. Only the log has the
    address.
    """
    client = Client(enforce_csrf_checks=True)
    answer = client.post("/sign-in/", {"username": "demo"}, headers={"origin": origin})
    assert_shows(answer, 403, "the host and the port that the proxy passes on")
    assert origin not in answer.content.decode()
    assert f"Origin checking failed - {origin} does not match" in caplog.text


def test_other_errors():
    """
    Django finds our pages for other errors, and they show no details.
    """
    request, error = RequestFactory().get("/"), ValueError("secret")
    resolver = get_resolver(urls.__name__)
    for status, words, more in ((403, "may not do this", [error]), (500, "The server failed.", [])):
        answer = resolver.resolve_error_handler(status)(request, *more)
        assert_shows(answer, status, words)
        assert "secret" not in answer.content.decode()
