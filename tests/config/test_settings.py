"""The environment decides; what is wrong in it is said in a sentence."""

import os
import subprocess
import sys

import pytest
from django.conf import settings
from django.core.management import call_command

from tests.rig.keeper import MARK

PRODUCTION = {
    "DATABASE_URL": "postgresql://user@db.example/site",
    "REDIS_URL": "redis://redis.example:6379/0",
    "SECRET_KEY": "3kf8-Vq0zLw_7Rt2mXbY5nPcHd9sGjEa6uTiOoQ1rWlKvMxZ" * 2,
    "ALLOWED_HOSTS": "shop.example,.shop.example",
}


#: The variables that measure the coverage of a process, and that have it end with pytest.
MEASURED = {
    name: value for name, value in os.environ.items() if name.startswith("COV") or name == MARK
}


def run(command, **environment):
    """Run a command of manage.py with this environment only."""
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=settings.BASE_DIR,
        env={**MEASURED, "PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def show(expression, **environment):
    code = f"from django.conf import settings; print({expression})"
    done = run(["shell", "-v0", "-c", code], **environment)
    assert not done.returncode, done.stderr
    return done.stdout.strip()


def test_nothing_set_means_debugging_on_embedded_servers(tmp_path):
    """
    A newcomer's project runs from its own folder.
    """
    seen = show(
        "settings.DEBUG, settings.DATABASES['default']['OPTIONS']['host'], settings.REDIS_URL",
        DATA_DIR=str(tmp_path),
    )
    assert f"True {tmp_path}/postgres unix://{tmp_path}/redis.sock" == seen


def test_a_database_makes_it_a_deployment():
    """
    With a database of its own the project is not in debug mode, and cookies need TLS.
    """
    seen = show(
        "settings.DEBUG, settings.SESSION_COOKIE_SECURE, settings.ALLOWED_HOSTS", **PRODUCTION
    )
    assert "False True ['shop.example', '.shop.example']" == seen


@pytest.mark.parametrize(
    ("expected", "environment"),
    [
        ("redis://redis.example:6379/0", {}),
        ("amqp://broker.example", {"CELERY_BROKER_URL": "amqp://broker.example"}),
        ("redis+socket:///run/redis.sock", {"REDIS_URL": "unix:///run/redis.sock"}),
    ],
)
def test_broker_is_redis_unless_said_otherwise(expected, environment):
    """
    Celery's broker is the Redis of the channel layer, in Celery's spelling.
    """
    assert expected == show("settings.CELERY_BROKER_URL", **PRODUCTION | environment)


@pytest.mark.parametrize(
    ("expected", "url"), [(60, ""), (0, "?pool=true")], ids=["kept connections", "pool"]
)
def test_connections(expected, url):
    """
    Connections are kept a minute, or by a pool.
    """
    environment = {**PRODUCTION, "DATABASE_URL": PRODUCTION["DATABASE_URL"] + url}
    assert str(expected) == show("settings.DATABASES['default']['CONN_MAX_AGE']", **environment)


def test_a_pool_is_large_enough_for_a_daphne():
    """
    `?pool=true` is more than psycopg's own four connections.
    """
    environment = {**PRODUCTION, "DATABASE_URL": f"{PRODUCTION['DATABASE_URL']}?pool=true"}
    pool = "settings.DATABASES['default']['OPTIONS']['pool']['max_size']"
    assert "10" == show(pool, **environment)


@pytest.mark.parametrize(
    ("sentence", "environment"),
    [
        ("SECRET_KEY is not set.", {"SECRET_KEY": ""}),
        ('"PORT"', {"PORT": "eighty"}),
        ('"PORT"', {"PORT": "99999"}),
        ('"DEBUG"', {"DEBUG": "perhaps"}),
        ('"DATABASE_URL"', {"DATABASE_URL": "oracel://x"}),
    ],
)
def test_a_mistake_stops_the_start_with_a_sentence(sentence, environment):
    """
    No traceback: the name of the variable, and what was expected.
    """
    done = run(["check"], **PRODUCTION | environment)
    assert 1 == done.returncode
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert ".." not in done.stderr


def test_deployment_is_sound():
    """
    In production settings Django's deployment check finds nothing.
    """
    done = run(["check", "--deploy", "--fail-level", "INFO"], **PRODUCTION)
    assert 0 == done.returncode, done.stderr


def test_migrations_are_complete(db):
    """
    The models and the migrations say the same.
    """
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_twisted_is_for_processes_with_sockets():
    """
    `runserver` is Daphne's, and serves sockets; no other command imports Twisted.
    """
    assert "--noasgi" in run(["runserver", "--help"]).stdout
    assert "False" == show("'twisted' in __import__('sys').modules")
