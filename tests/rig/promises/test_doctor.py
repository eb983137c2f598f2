"""Tests of the doctor with a real site: a healthy one has no findings, a broken part is the only finding."""

import json
import os
import signal
import subprocess
import sys

import pytest
import redis
from django.conf import settings

from pillarbox.monitoring.processes import ALIVE_SECONDS
from tests.rig.site import Site
from tests.waiting import PATIENCE, wait_until


@pytest.fixture(scope="module")
def module_site(tmp_path_factory):
    """Yield a site with the processes of the Procfile."""
    with Site(tmp_path_factory.mktemp("site")) as site:
        site.environment["DJANGO_SETTINGS_MODULE"] = "config.settings"
        site.environment["CELERY_BROKER_URL"] = f"redis+socket://{site.data_dir}/redis.sock"
        # The servers of tests run without fsync, which the doctor would find.
        site.query("ALTER SYSTEM SET fsync = on")
        site.query("SELECT pg_reload_conf()")
        yield site


@pytest.fixture
def site(module_site):
    """Return the site with all of its processes running and reporting."""
    module_site.start_servers()
    module_site.start(
        *(name for name in ("worker1", "beat", "daphne") if name not in module_site.running)
    )
    wait_until(lambda: alive(module_site) == {"worker", "beat", "daphne"}, "all of them report")
    module_site.query("DELETE FROM pillarbox_process WHERE seen_at < now() - interval '8 seconds'")
    return module_site


def alive(site):
    """Return the kinds of processes that have recently reported with all their facts."""
    return {
        kind
        for (kind,) in site.query(
            "SELECT kind FROM pillarbox_process WHERE seen_at > now() - interval '6 seconds'"
            " AND coalesce(facts->>'drained_at', facts->>'swept_at', facts->>'sockets') IS NOT NULL"
        )
    }


def doctor(site, *arguments, **environment):
    """Run the doctor. Return its exit code and its output."""
    done = subprocess.run(
        [sys.executable, "manage.py", "pillarbox", "doctor", *arguments],
        cwd=settings.BASE_DIR,
        env={**site.environment, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * PATIENCE,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def findings(site, **environment):
    """Run the doctor. Return its findings: pairs of a check and a sentence."""
    code, output = doctor(site, "--json", **environment)
    shown = json.loads(output)
    found = [
        (each["check"], finding["what"]) for each in shown["checks"] for finding in each["findings"]
    ]
    assert code == (1 if found else 0), output
    assert all(f["why"] and f["do"] for each in shown["checks"] for f in each["findings"])
    return found


def test_a_healthy_site(site):
    """
    There are no findings, the exit code is 0, and each line of the table begins with ok.
    """
    assert [] == findings(site)
    code, output = doctor(site)
    assert 0 == code
    *lines, _, last = output.splitlines()
    assert {"ok"} == {line.split()[0] for line in lines if not line.startswith(" ")}
    assert last.startswith("All is well. (")
    assert "\x1b" not in output  # colours are for terminals only


def test_redis_stopped(site):
    """
    Redis is the only finding; checks that need it add none.
    """
    site.kill_redis()
    ((check, what),) = findings(site)
    assert "redis" == check
    assert "redis.sock can't be used" in what


def test_postgres_stopped(site):
    """
    PostgreSQL is the only finding; checks that need it add none.
    """
    site.kill_postgres()
    ((check, what),) = findings(site)
    assert "database" == check
    assert "PostgreSQL can't be used" in what


def test_an_unknown_role(site):
    """
    A role that PostgreSQL doesn't know is a finding; the password isn't shown.
    """
    address = site.environment["DATABASE_URL"].replace("postgres@", "nobody:hidden-word@")
    code, output = doctor(site, DATABASE_URL=address, DEBUG="1")
    assert 1 == code
    assert 'role "nobody" does not exist' in " ".join(output.split())
    assert "hidden-word" not in output


def test_a_wrong_password(site):
    """
    A password that Redis refuses is a finding; it isn't shown.
    """
    address = site.environment["REDIS_URL"].replace("unix://", "unix://:hidden-word@")
    with redis.Redis.from_url(site.environment["REDIS_URL"]) as client:
        client.config_set("requirepass", "another")
        try:
            code, output = doctor(site, REDIS_URL=address)
        finally:
            client.config_set("requirepass", "")
    assert 1 == code
    assert "FAIL: redis. " in output
    assert "invalid username-password pair" in " ".join(output.split())
    assert "hidden-word" not in output


def test_broker_stopped(site):
    """
    A broker apart from Redis that can't be reached is a finding.
    """
    assert ["broker"] == [
        check for check, _ in findings(site, CELERY_BROKER_URL="redis://127.0.0.1:1")
    ]


@pytest.mark.parametrize(
    ("name", "check"), [("worker1", "workers"), ("beat", "beat"), ("daphne", "daphne")]
)
def test_a_dead_process(site, name, check):
    """
    A killed worker, beat or Daphne is a finding, which has the time of its last report.
    """
    site.kill(name)
    # As if it had been killed long enough ago to count as dead.
    earlier = (
        "UPDATE pillarbox_process SET seen_at = seen_at - make_interval(secs => %s) WHERE kind = %s"
    )
    site.query(earlier, [ALIVE_SECONDS + 1, check.rstrip("s")])
    ((found, what),) = findings(site)
    assert check == found
    assert "runs; the last one reported" in what


def test_a_frozen_worker_does_not_wake_up(site):
    """
    A worker that ignores wake-ups is a finding even before it counts as dead.
    """
    site.freeze("worker1")
    # However long the doctor takes to start, the worker doesn't count as dead.
    site.query("UPDATE pillarbox_process SET seen_at = seen_at + interval '1 hour'")
    try:
        code, output = doctor(site, "--only", "wake-up")
    finally:
        site.resume("worker1")
    assert 1 == code
    assert "no worker came" in output


def test_failed_rows(site):
    """
    Failed rows that were not replayed are a finding, with their cause.
    """
    site.announce("a")
    wait_until(site.is_drained, "it is published")
    site.query(
        "UPDATE pillarbox_notificationoutbox SET published_at = NULL, failed_at = now() - interval '9 days',"
        " error_type = 'ValueError', error_fingerprint = 'x'"
    )
    ((check, what),) = findings(site)
    site.query("DELETE FROM pillarbox_notificationoutbox")
    assert "failed-rows" == check
    assert "1 of ValueError since" in what


def test_ctrl_c_ends_the_doctor_quietly(site):
    """
    The doctor exits with 130, without a traceback.
    """
    process = subprocess.Popen(
        [sys.executable, "manage.py", "pillarbox", "doctor"],
        cwd=settings.BASE_DIR,
        env={**site.environment, "REDIS_URL": "redis://192.0.2.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline()  # it is running
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert (130, "") == (process.returncode, errors)
