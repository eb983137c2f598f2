"""What balancers and Prometheus ask is answered, however they ask."""

import pytest
from django.test import Client

from tests.metrics import series
from workers.readiness import stopping

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def deployed(settings):
    """A client of a deployment that knows neither its name nor TLS."""
    settings.DEBUG, settings.SECURE_SSL_REDIRECT, settings.ALLOWED_HOSTS = (
        False,
        True,
        ["shop.example"],
    )
    return Client(headers={"host": "10.0.0.7:8000"})


@pytest.mark.parametrize(("path", "word"), [("/healthz", "alive"), ("/readyz", "ready")])
def test_a_balancer_needs_no_name_and_no_tls(deployed, path, word):
    """
    Neither is it redirected nor refused; and nobody keeps the answer.
    """
    answer = deployed.get(path)
    assert (200, True) == (answer.status_code, answer.json()[word])
    assert "no-store" == answer["Cache-Control"]
    assert 200 == deployed.head(path).status_code


def test_who_can_not_serve_says_so_by_its_status(deployed):
    """
    Balancers look at nothing else.
    """
    stopping.set()
    try:
        answer = deployed.get("/readyz")
    finally:
        stopping.clear()
    assert (503, True) == (answer.status_code, answer.json()["stopping"])


def test_health_asks_no_database(deployed, django_assert_num_queries):
    """
    A process is not started anew because the database is away.
    """
    with django_assert_num_queries(0):
        deployed.get("/healthz")


def test_metrics_are_for_who_has_the_token(deployed, settings):
    """
    Others don't see that there are any.
    """
    assert 404 == deployed.get("/metrics").status_code
    settings.METRICS_TOKEN = "a-token"
    answer = deployed.get("/metrics", headers={"Authorization": "Bearer a-token"})
    assert 200 == answer.status_code
    assert 1 == series(answer.content.decode())["notifier_database_up"]
    assert 404 == deployed.get("/metrics").status_code


def test_other_requests_are_not_its_affair(deployed):
    """
    Nor are other methods: they are refused, from where nobody should come.
    """
    assert 400 == deployed.get("/healthz/").status_code
    assert 400 == deployed.post("/healthz").status_code
