"""The doctor examines a real site: a sound one, and one with a part broken, which is the one finding."""

import json
import os
import signal
import subprocess
import sys

import pytest
import redis
from django.conf import settings

from apps.outbox.instances import ALIVE_SECONDS
from tests.rig.processes import PATIENCE, wait_until
from tests.rig.site import Site


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A site as the Procfile has it."""
    with Site(tmp_path_factory.mktemp("site")) as site:
        site.environment["DJANGO_SETTINGS_MODULE"] = "config.settings"
        site.environment["CELERY_BROKER_URL"] = f"redis+socket://{site.data_dir}/redis.sock"
        # Servers of tests needn't survive a power cut; those of a sound site must.
        site.query("ALTER SYSTEM SET fsync = on")
        site.query("SELECT pg_reload_conf()")
        yield site


@pytest.fixture
def site(whole):
    """The site, with all of its processes running and reporting."""
    whole.start_servers()
    whole.start(*(name for name in ("worker1", "beat", "daphne") if name not in whole.running))
    wait_until(lambda: alive(whole) == {"worker", "beat", "daphne"}, "all of them report")
    whole.query("DELETE FROM outbox_instance WHERE seen_at < now() - interval '8 seconds'")
    return whole


def alive(site):
    """Return the kinds of processes that have reported lately, with all their facts."""
    return {
        kind
        for (kind,) in site.query(
            "SELECT kind FROM outbox_instance WHERE seen_at > now() - interval '6 seconds'"
            " AND coalesce(facts->>'drained_at', facts->>'swept_at', facts->>'sockets') IS NOT NULL"
        )
    }


def doctor(site, *words, **environment):
    """Return the doctor's exit code, and what it says."""
    done = subprocess.run(
        [sys.executable, "manage.py", "outbox", "doctor", *words],
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
    """Return what is found: pairs of a check and a sentence."""
    code, said = doctor(site, "--json", **environment)
    shown = json.loads(said)
    found = [
        (each["check"], finding["what"]) for each in shown["checks"] for finding in each["findings"]
    ]
    assert code == (1 if found else 0), said
    assert all(f["why"] and f["do"] for each in shown["checks"] for f in each["findings"])
    return found


def test_a_sound_site(site):
    """
    Nothing is found, the exit code is 0, and each line of the table says ok.
    """
    assert [] == findings(site)
    code, said = doctor(site)
    assert 0 == code
    *lines, _, last = said.splitlines()
    assert {"ok"} == {line.split()[0] for line in lines if not line.startswith(" ")}
    assert last.startswith("All is well. (")
    assert "\x1b" not in said  # no colours but on a terminal


def test_redis_stopped(site):
    """
    Redis is found, and not all that needs it.
    """
    site.kill_redis()
    ((check, what),) = findings(site)
    assert "redis" == check
    assert "redis.sock can't be used" in what


def test_postgres_stopped(site):
    """
    PostgreSQL is found, and not all that needs it.
    """
    site.kill_postgres()
    ((check, what),) = findings(site)
    assert "database" == check
    assert "PostgreSQL can't be used" in what


def test_an_account_that_is_none(site):
    """
    An account that PostgreSQL refuses is found; the password isn't shown.
    """
    address = site.environment["DATABASE_URL"].replace("postgres@", "nobody:hidden-word@")
    code, said = doctor(site, DATABASE_URL=address, DEBUG="1")
    assert 1 == code
    assert 'role "nobody" does not exist' in " ".join(said.split())
    assert "hidden-word" not in said


def test_a_wrong_password(site):
    """
    A Redis that refuses the password is found; the password isn't shown.
    """
    address = site.environment["REDIS_URL"].replace("unix://", "unix://:hidden-word@")
    with redis.Redis.from_url(site.environment["REDIS_URL"]) as client:
        client.config_set("requirepass", "another")
        try:
            code, said = doctor(site, REDIS_URL=address)
        finally:
            client.config_set("requirepass", "")
    assert 1 == code
    assert "FAIL: redis. " in said
    assert "invalid username-password pair" in " ".join(said.split())
    assert "hidden-word" not in said


def test_broker_stopped(site):
    """
    A broker of its own that is away is found.
    """
    assert ["broker"] == [
        check for check, _ in findings(site, CELERY_BROKER_URL="redis://127.0.0.1:1")
    ]


@pytest.mark.parametrize(
    ("name", "check"), [("worker1", "workers"), ("beat", "beat"), ("daphne", "daphne")]
)
def test_a_dead_process(site, name, check):
    """
    A killed worker, beat or Daphne is found, and for how long it has been silent.
    """
    site.kill(name)
    # As if it had been killed so long ago that it is missed.
    earlier = (
        "UPDATE outbox_instance SET seen_at = seen_at - make_interval(secs => %s) WHERE kind = %s"
    )
    site.query(earlier, [ALIVE_SECONDS + 1, check.rstrip("s")])
    ((found, what),) = findings(site)
    assert check == found
    assert "is alive; the last was heard of" in what


def test_a_frozen_worker_does_not_hear_the_bell(site):
    """
    A worker that doesn't answer is found before it counts as dead.
    """
    site.freeze("worker1")
    try:
        code, said = doctor(site, "--only", "bell")
    finally:
        site.resume("worker1")
    assert 1 == code
    assert "no worker came" in said


def test_failed_rows(site):
    """
    Failed rows that were not replayed are found with their cause.
    """
    site.announce("a")
    wait_until(site.is_drained, "it is published")
    site.query(
        "UPDATE outbox_notificationoutbox SET published_at = NULL, failed_at = now() - interval '9 days',"
        " error_type = 'ValueError', error_fingerprint = 'x'"
    )
    ((check, what),) = findings(site)
    site.query("DELETE FROM outbox_notificationoutbox")
    assert "failed-rows" == check
    assert "1 of ValueError since" in what


def test_ctrl_c_leaves_quietly(site):
    """
    It exits with 130, without a traceback.
    """
    process = subprocess.Popen(
        [sys.executable, "manage.py", "outbox", "doctor"],
        cwd=settings.BASE_DIR,
        env={**site.environment, "REDIS_URL": "redis://192.0.2.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline()  # it has begun
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert (130, "") == (process.returncode, errors)
