"""Tests of `manage.py pillarbox run`, which does all recurring work without Celery."""

import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models.functions import Now

from pillarbox.models import MinuteCounts, NotificationOutbox, Replay
from pillarbox.relay import wake_ups
from pillarbox.replay.criteria import Criteria
from pillarbox.replay.decisions import decide, last_pk
from pillarbox.replay.replay import BATCH
from tests.processes import Site
from tests.rows import make, many_failed
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def running(folder, *options):
    """Run the command until the block ends; yield its process."""
    command = [sys.executable, "manage.py", "pillarbox", "run", *options]
    with Site(folder) as site:
        process = subprocess.Popen(command, cwd=settings.BASE_DIR, env=site.environment)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def is_published():
    return not NotificationOutbox.objects.pending().exists()


def test_goes_on(ticket, tmp_path):
    """
    The command goes on, through a lost database connection, until SIGTERM.
    """
    with running(tmp_path) as process:
        wait_until(is_published, "the first rows are published")
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        ticket.title = "Changed"
        ticket.save()
        wait_until(is_published, "the next rows are published")
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(PATIENCE)


def test_a_commit_wakes_it_up(ticket, settings, tmp_path):
    """
    With the settings' defaults, a commit is published without a sweep.
    """
    settings.PILLARBOX = {k: v for k, v in settings.PILLARBOX.items() if k != "WAKE_UP"}
    with running(tmp_path, "--sweep", "1000"):
        wait_until(is_published, "the first rows are published")
        for number in range(3):
            ticket.title = f"{number}"
            ticket.save()
            wait_until(is_published, "the next rows are published")
            wait_until(lambda: not wake_ups.is_requested(), "it has cleared the wake-up")


def test_does_the_work_of_beat_and_worker(ticket, demo, tmp_path):
    """
    Without Celery, it carries out replays, prunes old rows, and writes per-minute counts.
    """
    NotificationOutbox.objects.all().delete()
    made = many_failed(BATCH + 1)
    old = make(BATCH + 2, published_at=Now() - timedelta(days=8), stream="thing:2")
    replay = decide(
        Criteria(),
        by=demo,
        reason="mended",
        last=last_pk(using=DEFAULT_DB_ALIAS),
        using=DEFAULT_DB_ALIAS,
    )
    with running(tmp_path):
        wait_until(
            lambda: (
                Replay.objects.exclude(finished_at=None).exists()
                and MinuteCounts.objects.exists()
                and not NotificationOutbox.objects.filter(pk=old.pk).exists()
            ),
            "all is done",
        )
    replay.refresh_from_db()
    assert len(made) == replay.announced
