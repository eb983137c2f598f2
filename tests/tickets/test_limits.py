"""Tests of the API's limits: pages get smaller, and invalid input gets a 400."""

import json

import pytest
from rest_framework.test import APIClient

from apps.tickets.limits import LimitedPagination
from apps.tickets.models import Ticket
from pillarbox.types.hashids import encode

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(demo):
    client = APIClient()
    client.force_login(demo)
    return client


@pytest.mark.parametrize("number", ["9" * 20, "9" * 5000])
@pytest.mark.parametrize("name", ["limit", "offset"])
def test_huge_limits_and_offsets(api, ticket, name, number):
    """
    Huge limits and offsets are answered with a page.
    """
    answer = api.get("/api/tickets/", {name: number})
    assert (200, 1) == (answer.status_code, answer.json()["count"])


def test_a_page_has_a_maximum(api, project, monkeypatch):
    """
    A page has a maximum size, and a link to the next one.
    """
    monkeypatch.setattr(LimitedPagination, "max_limit", 2)
    Ticket.objects.bulk_create(Ticket(project=project, title=str(n)) for n in range(3))
    answer = api.get("/api/tickets/", {"limit": 3}).json()
    assert (3, 2) == (answer["count"], len(answer["results"]))
    assert "limit=2&offset=2" in answer["next"]


@pytest.mark.parametrize("url", ["/api/tickets/", "/api/token/"])
@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_json_that_is_nested_deeply(api, url, bracket):
    """
    JSON nested too deeply for Python is refused like other invalid JSON.
    """
    answer = api.post(url, bracket * 100_000, content_type="application/json")
    assert 400 == answer.status_code
    assert "JSON parse error" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["\0", "demo\0", "\ud800", {"demo": "\0"}, ["demo"], 7])
def test_an_impossible_assignee(api, project, ticket, name):
    """
    A name that no user can have is refused like an unknown one, without a database error.
    """
    url = f"/api/tickets/{encode('ticket', ticket.pk)}/"
    answer = api.patch(url, json.dumps({"assignee": name}), content_type="application/json")
    assert 400 == answer.status_code


@pytest.mark.parametrize("field", ["title", "description", "status", "priority", "project"])
@pytest.mark.parametrize("value", ["\0", "\ud800"])
def test_text_that_is_not_unicode(api, ticket, field, value):
    """
    NUL and half surrogate pairs are refused in any field, since they can't be stored or encoded.
    """
    url = f"/api/tickets/{encode('ticket', ticket.pk)}/"
    answer = api.patch(url, json.dumps({field: value}), content_type="application/json")
    assert 400 == answer.status_code
