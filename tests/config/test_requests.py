"""Each request has an id: in its answer, in its log lines, in what it writes."""

import logging
import re
import uuid

import pytest
from rest_framework.test import APIClient

from apps.outbox.models import NotificationOutbox
from apps.realtime import hashids
from config.requests import RequestFilter

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(demo):
    client = APIClient()
    client.force_login(demo)
    return client


def lines(caplog):
    return [record for record in caplog.records if record.name == "config.requests"]


def test_one_id_from_the_request_to_the_row(api, ticket, caplog):
    """
    The line in the log has the id and the mark; the rows have the mark.
    """
    url = f"/api/tickets/{hashids.encode('ticket', ticket.pk)}/"
    NotificationOutbox.objects.all().delete()
    with caplog.at_level(logging.INFO, "config"):
        answer = api.patch(
            f"{url}?token=secret", {"title": "New"}, headers={"X-Request-ID": "order-4711"}
        )
    assert "order-4711" == answer["X-Request-ID"]
    (line,) = lines(caplog)
    assert ("PATCH", url, 200) == (line.method, line.path, line.status)
    event_ids = {str(row.event_id) for row in NotificationOutbox.objects.all()}
    assert event_ids
    assert all(event_id.startswith(line.events) for event_id in event_ids)


@pytest.mark.parametrize(
    "given", ["", "short", "x" * 65, "two words", "line\nbreak-forged", "a=b;c=defg"]
)
def test_an_id_that_is_none_is_replaced(api, given):
    """
    What could forge a line in a log never gets there.
    """
    answer = api.get("/api/", headers={"X-Request-ID": given})
    assert re.fullmatch(r"[0-9a-f-]{36}", answer["X-Request-ID"])
    assert uuid.UUID(answer["X-Request-ID"])


def test_all_that_is_said_meanwhile_has_the_id(api, caplog):
    """
    Django's own words on a refusal, too, which come when the request is over; what is said later has none.
    """
    said = []
    handler = logging.Handler()
    handler.emit = said.append
    handler.addFilter(RequestFilter())
    logging.getLogger().addHandler(handler)
    try:
        api.logout()
        api.get("/api/", headers={"X-Request-ID": "order-4711"})
        logging.getLogger("apps").warning("Later")
    finally:
        logging.getLogger().removeHandler(handler)
    found = {record.name: getattr(record, "request_id", None) for record in said}
    assert {"django.request": "order-4711", "config.requests": "order-4711", "apps": None} == found


def test_a_request_that_fails_is_told_apart_too(api, caplog):
    """
    An id whose handler raises is not left behind for the next request of the thread.
    """
    api.raise_request_exception = False
    answer = api.get("/api/tickets/", {"limit": "x" * 10}, headers={"X-Request-ID": "order-4711"})
    assert "order-4711" == answer["X-Request-ID"]
    assert "order-4711" != api.get("/api/")["X-Request-ID"]
