"""Tests of `manage.py pillarbox drain`, which publishes without Celery."""

import re

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from pillarbox.models import NotificationOutbox

pytestmark = pytest.mark.django_db(transaction=True)


def test_once(ticket, capsys):
    """
    The command publishes due rows, and prints how many.
    """
    rows = NotificationOutbox.objects.count()
    call_command("pillarbox", "drain")
    assert f"{rows} published, 0 failed, 0 left.\n" in capsys.readouterr().out
    call_command("pillarbox", "drain")
    assert "0 published, 0 failed, 0 left.\n" in capsys.readouterr().out


def test_once_with_the_layer_away(ticket, settings, capsys):
    """
    If nothing could be published, the command fails, and lists possible causes.
    """
    layer = {**settings.CHANNEL_LAYERS["default"], "CONFIG": {"hosts": ["redis://127.0.0.1:1"]}}
    settings.CHANNEL_LAYERS = {"default": layer}
    with pytest.raises(SystemExit, match="1"):
        call_command("pillarbox", "drain")
    assert re.match(
        r"0 published, 0 failed, \d+ left\.\nThe channel layer", capsys.readouterr().out
    )
    assert NotificationOutbox.objects.pending().exists()


def test_once_with_the_database_away(db, monkeypatch):
    """
    The error is a sentence, not a traceback.
    """
    with monkeypatch.context() as patched:
        patched.setitem(connection.settings_dict, "HOST", "/nowhere")
        connection.close()
        with pytest.raises(CommandError, match=r"^The database is away: .*/nowhere"):
            call_command("pillarbox", "drain")
