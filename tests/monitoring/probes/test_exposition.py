"""Tests of the exposed metrics, and of access to them."""

import os
import subprocess
import sys
from collections.abc import Iterable

import pytest
from django.conf import settings as django_settings
from prometheus_client import CollectorRegistry

from pillarbox.monitoring.facts import facts
from pillarbox.monitoring.probes.exposition import GAUGES, FactsCollector, expose, is_allowed
from pillarbox.monitoring.probes.shared_metrics import VARIABLE
from tests.metrics import Metric, series
from tests.monitoring.doctor.situations import sql
from tests.rows import make

TOKEN = "correct horse battery"


def shown_of(database: Iterable[object]) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(database)
    return {
        [*sample.labels.values(), sample.name][0]: sample.value
        for metric in registry.collect()
        for sample in metric.samples
    }


@pytest.mark.django_db(transaction=True)
def test_the_backlog():
    """
    The gauges show the status and the backlog; without rows, ages are 0.
    """
    problems = {"workers": 1, "beat": 1, "daphne": 1}
    states = {"OK": 0, "DEGRADED": 1, "STALLED": 0}  # no process runs
    found = {"notifier_database_up": 1, **states, **problems, **dict.fromkeys(GAUGES, 0)}
    assert found == shown_of(FactsCollector(lambda: facts(using="default")))
    make()
    make(1)
    make(2, failed_at="2026-11-22T10:00:00Z", error_type="X")
    shown = shown_of(FactsCollector(lambda: facts(using="default")))
    assert (2, 1, 1) == tuple(
        shown[f"notifier_{name}_rows"] for name in ("backlog", "backlog_unnumbered", "failed")
    )
    assert shown["notifier_backlog_age_seconds"] > 0
    assert shown["notifier_lag_seconds"] > 0
    sql("UPDATE pillarbox_notificationoutbox SET created_at = created_at - interval '1 minute'")
    shown = shown_of(FactsCollector(lambda: facts(using="default")))
    assert {"OK": 0, "DEGRADED": 0, "STALLED": 1} == {state: shown[state] for state in states}


@pytest.mark.django_db(transaction=True)
def test_the_database_away():
    """
    If the database is away, only `notifier_database_up` is yielded, as 0.
    """

    def ask():
        raise ConnectionError

    assert {"notifier_database_up": 0} == shown_of(FactsCollector(ask))


@pytest.mark.django_db(transaction=True)
def test_a_single_process():
    """
    A single process exposes its counts in the format that Prometheus accepts.
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
def test_shared_metrics(tmp_path):
    """
    Counts of dead processes stay; their gauges don't.
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
        With a configured token, only that token allows access, from any address.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"METRICS_TOKEN": TOKEN}
        settings.DEBUG = debug
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
    def test_without_a_token(self, settings, expected, debug, address):
        """
        Without a token, only this machine has access, and only in debug mode.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"METRICS_TOKEN": ""}
        settings.DEBUG = debug
        assert expected == is_allowed("", address)
