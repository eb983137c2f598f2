"""Tests of the probes of load balancers and Prometheus."""

import pytest
from django.test import Client

from pillarbox.monitoring.probes.readiness import stopping
from tests.metrics import series

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def deployed(settings):
    """A client of a deployment that uses the wrong host name and no TLS."""
    settings.DEBUG, settings.SECURE_SSL_REDIRECT, settings.ALLOWED_HOSTS = (
        False,
        True,
        ["shop.example"],
    )
    return Client(headers={"host": "10.0.0.7:8000"})


@pytest.mark.parametrize(("path", "word"), [("/healthz", "alive"), ("/readyz", "ready")])
def test_any_host_name_without_tls(deployed, path, word):
    """
    Probes are answered whatever the host name, without a redirect to TLS, and not cached.
    """
    answer = deployed.get(path)
    assert (200, True) == (answer.status_code, answer.json()[word])
    assert "no-store" == answer["Cache-Control"]
    assert 200 == deployed.head(path).status_code


def test_not_ready_is_503(deployed):
    """
    A process that can't serve clients answers 503, which is all that balancers read.
    """
    stopping.set()
    try:
        answer = deployed.get("/readyz")
    finally:
        stopping.clear()
    assert (503, True) == (answer.status_code, answer.json()["stopping"])


def test_liveness_queries_no_database(deployed, django_assert_num_queries):
    """
    Liveness doesn't depend on the database, whose outage is no reason for a restart.
    """
    with django_assert_num_queries(0):
        deployed.get("/healthz")


def test_metrics_require_the_token(deployed, settings):
    """
    Without the token, metrics are answered with 404.
    """
    assert 404 == deployed.get("/metrics").status_code
    settings.PILLARBOX = settings.PILLARBOX | {"METRICS_TOKEN": "a-token"}
    answer = deployed.get("/metrics", headers={"Authorization": "Bearer a-token"})
    assert 200 == answer.status_code
    assert 1 == series(answer.content.decode())["notifier_database_up"]
    assert 404 == deployed.get("/metrics").status_code


def test_other_requests_are_passed_on(deployed):
    """
    Other addresses and methods go on to the other middlewares.
    """
    assert 400 == deployed.get("/healthz/").status_code
    assert 400 == deployed.post("/healthz").status_code
