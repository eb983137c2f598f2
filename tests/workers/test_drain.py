"""`manage.py drain` publishes without Celery."""

import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models.functions import Now

from apps.outbox.criteria import Criteria
from apps.outbox.models import Minute, NotificationOutbox, Replay
from apps.outbox.replay import BATCH, decide, last_pk
from tests.outbox.rows import make, many_failed
from tests.processes import Site
from tests.rig.processes import PATIENCE, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def test_once(ticket, capsys):
    """
    What is due is published, and the command says how much.
    """
    rows = NotificationOutbox.objects.count()
    call_command("drain")
    assert f"{rows} published, 0 failed, 0 left.\n" in capsys.readouterr().out
    call_command("drain")
    assert "0 published, 0 failed, 0 left.\n" in capsys.readouterr().out


def test_once_with_the_layer_away(ticket, settings):
    """
    Where nothing could be published the command fails, and says why that may be.
    """
    layer = {**settings.CHANNEL_LAYERS["default"], "CONFIG": {"hosts": ["redis://127.0.0.1:1"]}}
    settings.CHANNEL_LAYERS = {"default": layer}
    with pytest.raises(CommandError, match=r"0 published, 0 failed, \d+ left\. The channel layer"):
        call_command("drain")
    assert NotificationOutbox.objects.pending().exists()


def test_once_with_the_database_away(db, monkeypatch):
    """
    A sentence, not a traceback.
    """
    with monkeypatch.context() as patched:
        patched.setitem(connection.settings_dict, "HOST", "/nowhere")
        connection.close()
        with pytest.raises(CommandError, match=r"^The database is away: .*/nowhere"):
            call_command("drain")


def test_forever(ticket, tmp_path):
    """
    It goes on, through a lost connection to the database, until it is told to stop.
    """
    command = [sys.executable, "manage.py", "drain", "--forever", "--interval", "0.1"]
    with Site(tmp_path) as site:
        process = subprocess.Popen(command, cwd=settings.BASE_DIR, env=site.environment)
        try:
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
        finally:
            process.kill()
            process.wait()


def test_forever_does_what_beat_asks_for(ticket, demo, tmp_path):
    """
    What operators decided is carried out, what is old is pruned, and minutes are counted, without Celery.
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
    command = [sys.executable, "manage.py", "drain", "--forever", "--interval", "0.1"]
    with Site(tmp_path) as site:
        process = subprocess.Popen(command, cwd=settings.BASE_DIR, env=site.environment)
        try:
            wait_until(
                lambda: (
                    Replay.objects.exclude(finished_at=None).exists()
                    and Minute.objects.exists()
                    and not NotificationOutbox.objects.filter(pk=old.pk).exists()
                ),
                "all is done",
            )
        finally:
            process.kill()
            process.wait()
    replay.refresh_from_db()
    assert len(made) == replay.announced


def is_published():
    return not NotificationOutbox.objects.pending().exists()
