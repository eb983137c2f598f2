"""Tests of the request id in responses, log lines and rows."""

import logging
import re
import uuid

import pytest
from rest_framework.test import APIClient

from pillarbox.middleware.requests import RequestFilter
from pillarbox.models import NotificationOutbox
from pillarbox.types import hashids

pytestmark = pytest.mark.django_db

LOGGER = "pillarbox.middleware.requests"


@pytest.fixture
def api(demo):
    client = APIClient()
    client.force_login(demo)
    return client


def lines(caplog):
    return [record for record in caplog.records if record.name == LOGGER]


def test_one_id_from_the_request_to_the_row(api, ticket, caplog):
    """
    The log line has the id and the mark; the rows have the mark.
    """
    url = f"/api/tickets/{hashids.encode('ticket', ticket.pk)}/"
    NotificationOutbox.objects.all().delete()
    with caplog.at_level(logging.INFO, "pillarbox"):
        answer = api.patch(
            f"{url}?token=secret", {"title": "New"}, headers={"X-Request-ID": "order-4711"}
        )
    assert "order-4711" == answer["X-Request-ID"]
    (line,) = lines(caplog)
    assert ("PATCH", url, 200) == (
        line.pillarbox_method,
        line.pillarbox_path,
        line.pillarbox_status,
    )
    event_ids = {str(row.event_id) for row in NotificationOutbox.objects.all()}
    assert event_ids
    assert all(event_id.startswith(line.pillarbox_events) for event_id in event_ids)


@pytest.mark.parametrize(
    "given", ["", "short", "x" * 65, "two words", "line\nbreak-forged", "a=b;c=defg"]
)
def test_an_invalid_id_is_replaced(api, given):
    """
    An invalid id, which might forge log lines, is replaced.
    """
    answer = api.get("/api/", headers={"X-Request-ID": given})
    assert re.fullmatch(r"[0-9a-f-]{36}", answer["X-Request-ID"])
    assert uuid.UUID(answer["X-Request-ID"])


def test_all_records_have_the_id(api, caplog):
    """
    All records of a request have its id, even Django's last ones; later records don't.
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
    found = {record.name: getattr(record, "pillarbox_request_id", None) for record in said}
    assert {"django.request": "order-4711", LOGGER: "order-4711", "apps": None} == found


def test_a_failed_request(api, caplog):
    """
    The id of a failed request isn't kept for the thread's next request.
    """
    api.raise_request_exception = False
    answer = api.get("/api/tickets/", {"limit": "x" * 10}, headers={"X-Request-ID": "order-4711"})
    assert "order-4711" == answer["X-Request-ID"]
    assert "order-4711" != api.get("/api/")["X-Request-ID"]
