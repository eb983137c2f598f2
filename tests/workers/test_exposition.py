"""What Prometheus reads, and who may."""

import os
import subprocess
import sys
from collections.abc import Iterable

import pytest
from django.conf import settings as django_settings
from prometheus_client import CollectorRegistry

from apps.outbox.backlog import backlog
from tests.metrics import Metric, series
from tests.outbox.rows import make
from workers.exposition import GAUGES, Database, expose, is_allowed
from workers.tallies import VARIABLE

TOKEN = "correct horse battery"


def shown_of(database: Iterable[object]) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(database)
    return {sample.name: sample.value for metric in registry.collect() for sample in metric.samples}


@pytest.mark.django_db(transaction=True)
def test_the_backlog_is_the_databases():
    """
    As `backlog` has it; without one ages are none.
    """
    found = {"notifier_database_up": 1, **dict.fromkeys(GAUGES, 0)}
    assert found == shown_of(Database(lambda: backlog(using="default")))
    make()
    make(1)
    make(2, failed_at="2026-11-22T10:00:00Z", error_type="X")
    shown = shown_of(Database(lambda: backlog(using="default")))
    assert (2, 1, 1) == tuple(
        shown[f"notifier_{name}_rows"] for name in ("backlog", "backlog_unnumbered", "failed")
    )
    assert shown["notifier_backlog_age_seconds"] > 0
    assert shown["notifier_lag_seconds"] > 0


@pytest.mark.django_db(transaction=True)
def test_without_the_database_the_rest_is_there():
    """
    That it is away is said; nothing is said of what it would have said.
    """

    def ask():
        raise ConnectionError

    assert {"notifier_database_up": 0} == shown_of(Database(ask))


@pytest.mark.django_db(transaction=True)
def test_a_single_process_shows_what_it_counted():
    """
    In whichever of its formats Prometheus asks for.
    """
    text, media_type = expose("")
    assert "text/plain" in media_type
    assert (
        Metric("notifier_deliveries_total").value
        == series(text.decode())["notifier_deliveries_total"]
    )
    text, media_type = expose("application/openmetrics-text; version=1.0.0")
    assert "openmetrics" in media_type
    assert text.endswith(b"# EOF\n")


@pytest.mark.django_db(transaction=True)
def test_processes_show_what_they_counted_together(tmp_path):
    """
    What the dead have counted has happened; what they were they are no more.
    """
    code = (
        "from prometheus_client import Counter, Gauge;"
        "Counter('rows', 'x').inc(2); Gauge('now', 'x', multiprocess_mode='livesum').set(1); {then}"
    )
    environment = {**os.environ, VARIABLE: str(tmp_path)}

    def count(then, **options):
        command = [sys.executable, "-c", code.format(then=then)]
        return subprocess.Popen(
            command, env=environment, cwd=django_settings.BASE_DIR, text=True, **options
        )

    assert 0 == count("").wait()
    alive = count(
        "print('there', flush=True); input()", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert "there\n" == alive.stdout.readline()
        os.environ[VARIABLE] = str(tmp_path)
        shown = series(expose("")[0].decode())
    finally:
        os.environ.pop(VARIABLE, None)
        alive.communicate("\n")
    assert (4, 1, 1) == (shown["rows_total"], shown["now"], shown["notifier_database_up"])
    assert "notifier_sockets" not in shown


class TestIsAllowed:
    @pytest.mark.parametrize("debug", [True, False])
    def test_a_token_decides(self, settings, debug):
        """
        Then it takes that token, from wherever, and nothing else will do.
        """
        settings.METRICS_TOKEN, settings.DEBUG = TOKEN, debug
        assert is_allowed(f"Bearer {TOKEN}", "192.0.2.1")
        for given in ("", TOKEN, f"Token {TOKEN}", "Bearer ", "Bearer wörd"):
            assert not is_allowed(given, "127.0.0.1")

    @pytest.mark.parametrize(
        ("expected", "debug", "address"),
        [
            (True, True, "127.0.0.1"),
            (True, True, "::1"),
            (False, True, "192.0.2.1"),
            (False, False, "127.0.0.1"),
        ],
    )
    def test_without_one_it_is_for_debugging(self, settings, expected, debug, address):
        """
        In a deployment a proxy may stand on this machine: nobody is let in.
        """
        settings.METRICS_TOKEN, settings.DEBUG = "", debug
        assert expected == is_allowed("", address)
