"""Pages that say no: in the site's words, under its policy, and of nobody else's things."""

import re
from html import unescape

import pytest
from django.test import Client, RequestFactory, override_settings
from django.urls import get_resolver

from apps.realtime.registry import object_type
from apps.tickets.models import Ticket
from apps.tickets.policy import POLICY
from config import urls

pytestmark = pytest.mark.django_db
#: What a deployment behind a proxy that speaks TLS is asked.
DEPLOYED = {"DEBUG": False, "ALLOWED_HOSTS": ["testserver"], "SECURE_SSL_REDIRECT": False}


def assert_said(answer, status, words):
    """An answer is a page of ours."""
    assert (status, True) == (answer.status_code, words in unescape(answer.content.decode()))
    assert POLICY.format(sockets="'none'") == answer["Content-Security-Policy"]
    assert "no-store" == answer["Cache-Control"]
    assert not re.search(r"<style|\sstyle=|<script|https?://", answer.content.decode())


@pytest.mark.parametrize("debug", [False, True])
def test_what_is_someone_elses_looks_like_nothing(client, settings, demo, other, ticket, debug):
    """
    To the byte, what one may not see is answered like what never was, also while debugging.
    """
    settings.DEBUG = debug
    client.force_login(other)
    answers = [
        client.get(f"/tickets/{object_type('ticket').public_id(pk)}/{action}")
        for pk in (ticket.pk, 4711)
        for action in ("", "edit/")
    ]
    assert_said(answers[0], 404, "There is no such page, or you may not see it.")
    assert 1 == len({answer.content for answer in answers})


@override_settings(**DEPLOYED)
def test_an_address_of_nothing(client):
    """
    An address that the site hasn't is answered by a page of the site's, to strangers too.
    """
    assert_said(client.get("/nowhere/"), 404, "There is no such page")


@override_settings(**DEPLOYED)
def test_a_host_that_is_not_served(client):
    """
    A request that names another host is told that it makes no sense.
    """
    answer = client.get("/", headers={"host": "elsewhere.example"})
    assert_said(answer, 400, "can't make sense of this request")


@pytest.mark.parametrize("path", ["edit/", "delete/"])
def test_a_form_of_an_ended_session(demo, ticket, path):
    """
    A form without the session's own token changes nothing, and says what to do.
    """
    client = Client(enforce_csrf_checks=True)
    client.force_login(demo)
    url = f"/tickets/{object_type('ticket').public_id(ticket.pk)}/{path}"
    answer = client.post(url, {"title": "Forged", "status": "open", "priority": "2"})
    assert_said(answer, 403, "Nothing was saved.")
    assert "The logo is blurred" == Ticket.objects.get().title


def test_what_fails():
    """
    Django finds the pages for what else goes wrong; no detail of it is on them.
    """
    request, error = RequestFactory().get("/"), ValueError("secret")
    resolver = get_resolver(urls.__name__)
    for status, words, more in ((403, "may not do this", [error]), (500, "server is at fault", [])):
        answer = resolver.resolve_error_handler(status)(request, *more)
        assert_said(answer, status, words)
        assert "secret" not in answer.content.decode()
