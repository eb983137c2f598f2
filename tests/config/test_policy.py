"""Tests of the Content-Security-Policy."""

import pytest

from config.policy import POLICY

pytestmark = pytest.mark.django_db

HTML = {"Accept": "text/html"}


@pytest.fixture
def console(client, admin):
    client.force_login(admin)
    return client


@pytest.mark.parametrize(
    "url",
    ["/admin/", "/admin/auth/user/", "/admin/nothing/", "/api/tickets/", "/api/"],
)
def test_admin_and_api(console, url):
    """
    Pages of the admin and the API, including 404s, allow only the site's files and no inline scripts.
    """
    answer = console.get(url, headers=HTML)
    policy = answer["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none';" in policy
    assert url.startswith("/admin/") == ("style-src 'self';" in policy)


@pytest.mark.parametrize("url", ["/admin/login/", "/api/auth/login/"])
def test_sign_in(client, url):
    """
    Sign-in pages have a policy, too.
    """
    assert POLICY == client.get(url, headers=HTML)["Content-Security-Policy"]


def test_pages_keep_theirs(client):
    """
    The example's pages keep their stricter policy.
    """
    assert "require-trusted-types-for" in client.get("/sign-in/")["Content-Security-Policy"]


@pytest.mark.parametrize(("url", "has_policy"), [("/nothing/", False), ("/admin/login/", True)])
def test_errors_while_debugging(client, settings, url, has_policy):
    """
    Django's error pages in debug mode have no policy.
    """
    settings.DEBUG = True
    assert has_policy == client.get(url).has_header("Content-Security-Policy")
