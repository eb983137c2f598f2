"""Tests of session cookies that no server has set."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.utils import timezone

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("url", ["/", "/sign-in/", "/admin/", "/api/tickets/"])
def test_a_nul_is_no_session(client, url):
    """
    A cookie with a NUL is treated like no cookie.
    """
    stranger = client.get(url)
    client.cookies["sessionid"] = "\0nonsense"
    answer = client.get(url)
    assert stranger.status_code == answer.status_code
    assert stranger.headers.get("Location") == answer.headers.get("Location")


def test_a_session_is_found(client, demo):
    """
    A signed-in user sees the page.
    """
    client.force_login(demo)
    assert 200 == client.get("/").status_code


@pytest.mark.parametrize("url", ["/sign-in/", "/admin/login/", "/api/auth/login/"])
@pytest.mark.parametrize("is_there", [True, False])
def test_session_fixation(client, admin, url, is_there):
    """
    A planted session key isn't signed in with: signing in changes the key (session fixation).
    """
    cache.clear()  # of sign-in attempts
    known = "k" * 32
    if is_there:
        Session.objects.save(known, {"planted": 1}, timezone.now() + timedelta(days=1))
    client.cookies["sessionid"] = known
    client.post(url, {"username": "admin", "password": "admin"})
    assert known != client.cookies["sessionid"].value
    assert 200 == client.get("/admin/").status_code
    assert not Session.objects.filter(pk=known).exists()
    client.cookies["sessionid"] = known
    assert 302 == client.get("/admin/").status_code
