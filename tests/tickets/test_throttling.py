"""Tests of the limits of sign-in attempts, which are the same for names that don't exist."""

from contextlib import ExitStack

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core.cache import cache
from django.test import Client
from rest_framework.test import APIClient

from apps.tickets.throttling import AT_ONCE, SignInThrottle, hashing_slot

pytestmark = pytest.mark.django_db

FORMS = ["/sign-in/", "/admin/login/", "/api/auth/login/"]


class CountingHasher(MD5PasswordHasher):
    algorithm = "counting"
    hashed = 0

    def encode(self, password, salt):
        CountingHasher.hashed += 1
        return super().encode(password, salt)


@pytest.fixture(autouse=True)
def rates(settings):
    """Return a function that sets the attempts allowed per minute, by address and by name."""

    def rates(address, name):
        given = {"sign_in_address": f"{address}/min", "sign_in_name": f"{name}/min"}
        settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": given}

    settings.PASSWORD_HASHERS = ["tests.tickets.test_throttling.CountingHasher"]
    cache.clear()
    yield rates
    cache.clear()


def attempt(client, url, name="demo", password="x", **headers):
    form = {"username": name, "password": password}
    return client.post(url, form, headers=headers)


@pytest.mark.parametrize("url", [*FORMS, "/api/token/"])
class TestAttempts:
    def test_of_one_address(self, rates, client, demo, url):
        """
        Above the rate of an address, attempts with any name get 429 and a delay; no password is hashed.
        """
        rates(address=2, name=10)
        first = [attempt(client, url, name).status_code for name in ("demo", "nobody")]
        hashed = CountingHasher.hashed
        refused = attempt(client, url, "other")
        assert 429 not in first
        assert 429 == refused.status_code
        assert 0 < int(refused["Retry-After"]) <= 60
        assert hashed == CountingHasher.hashed

    def test_of_one_name(self, rates, client, demo, url):
        """
        A name has one rate for all addresses and spellings; another name has its own.
        """
        rates(address=10, name=2)
        statuses = [
            attempt(client, url, name, **{"X-Forwarded-For": f"10.0.0.{number}"}).status_code
            for number, name in enumerate(["demo", "Demo", " DEMO"])
        ]
        assert [429] == [status for status in statuses if status == 429]
        assert 429 == statuses[-1]
        assert 429 != attempt(client, url, "other").status_code

    def test_at_once(self, rates, client, demo, url):
        """
        If all slots for hashing are occupied, a further attempt gets 429, until a slot is free.
        """
        rates(address=10, name=10)
        with ExitStack() as stack:
            for _ in range(AT_ONCE):
                stack.enter_context(hashing_slot())
            hashed = CountingHasher.hashed
            refused = attempt(client, url)
            assert (429, "1") == (refused.status_code, refused["Retry-After"])
            assert hashed == CountingHasher.hashed
        assert 429 != attempt(client, url).status_code
        assert hashed < CountingHasher.hashed

    def test_with_names_that_do_not_exist(self, rates, demo, client, url):
        """
        A name that doesn't exist gets the same responses, after as many hashes, as a wrong password.
        """
        rates(address=10, name=2)
        seen = []
        for name in ("demo", "nobody"):
            CountingHasher.hashed = 0
            answers = [attempt(Client(), url, name) for _ in range(3)]
            texts = [answer.content.decode().replace(name, "") for answer in answers[:2]]
            assert CountingHasher.hashed
            seen.append(([answer.status_code for answer in answers], texts, CountingHasher.hashed))
        assert (seen[0][0], seen[0][2]) == (seen[1][0], seen[1][2])
        if "token" in url:  # pages have a secret of their own each
            assert seen[0] == seen[1]


def test_pages_are_not_limited(rates, client):
    """
    Showing the sign-in page is no attempt.
    """
    rates(address=1, name=1)
    assert {200} == {client.get(url).status_code for url in FORMS for _ in range(2)}


@pytest.mark.parametrize("body", ['["demo"]', '{"username": ["demo"]}', "{}"])
def test_invalid_names_count(rates, body):
    """
    An attempt without a valid name counts like one with a name.
    """
    rates(address=10, name=1)
    client = APIClient()
    statuses = [
        client.post("/api/token/", body, content_type="application/json").status_code
        for _ in range(2)
    ]
    assert [400, 429] == statuses


@pytest.mark.parametrize(
    ("proxies", "first", "second", "are_one"),
    [
        (1, "10.0.0.1", "10.0.0.2", False),
        (1, "1.1.1.1, 10.0.0.1", "2.2.2.2, 10.0.0.1", True),
        (0, "10.0.0.1", "10.0.0.2", True),
        (1, "2001:db8::1", "2001:db8::ffff:2", True),
        (1, "2001:db8::1", "2001:db8:0:1::1", False),
        (1, "nonsense", "nonsense", True),
    ],
)
def test_addresses(rates, settings, rf, proxies, first, second, are_one):
    """
    The address is the one that the nearest proxy saw; addresses that a client claims don't count. An IPv6
    network counts as one address.
    """
    rates(address=1, name=10)
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": proxies}
    allowed = [
        SignInThrottle().allow_request(rf.post("/", headers={"X-Forwarded-For": address}), None)
        for address in (first, second)
    ]
    assert [True, not are_one] == allowed


def test_no_wait_without_a_refusal():
    """
    A throttle that has refused no attempt has no time to wait for.
    """
    assert SignInThrottle().wait() is None
