"""Tests of the settings' environment, whose mistakes are reported in a sentence."""

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


#: Variables that measure a process's coverage, and end it with pytest.
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


def test_defaults_are_debug_mode_and_embedded_servers(tmp_path):
    """
    Without any variable, a project runs in debug mode on embedded servers.
    """
    seen = show(
        "settings.DEBUG, settings.DATABASES['default']['OPTIONS']['host'], settings.REDIS_URL",
        DATA_DIR=str(tmp_path),
    )
    assert f"True {tmp_path}/postgres unix://{tmp_path}/redis.sock" == seen


def test_a_database_makes_it_a_deployment():
    """
    With DATABASE_URL, debug mode is off, and cookies need TLS.
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
def test_broker_defaults_to_redis(expected, environment):
    """
    By default Celery's broker is the channel layer's Redis, in Celery's notation.
    """
    assert expected == show("settings.CELERY_BROKER_URL", **PRODUCTION | environment)


@pytest.mark.parametrize("account", ["", "user:w%3Ard@"])
def test_sentinels(account):
    """
    One address is that of the channel layer, with its wake-ups, and that of Celery's broker.
    """
    url = f"sentinel://{account}one.example:26379,two.example:26380/site"
    seen = show(
        "*settings.CHANNEL_LAYERS['default']['CONFIG']['hosts'], settings.CELERY_BROKER_URL,"
        "settings.CELERY_BROKER_TRANSPORT_OPTIONS['master_name']",
        **PRODUCTION | {"REDIS_URL": url},
    )
    host = {
        "sentinels": [("one.example", 26379), ("two.example", 26380)],
        "master_name": "site",
        **({"username": "user", "password": "w:rd"} if account else {}),
    }
    pair = (
        f"sentinel://{account}one.example:26379/0",
        f"sentinel://{account}two.example:26380/0",
    )
    assert f"{host} {';'.join(pair)} site" == seen


@pytest.mark.parametrize(
    ("expected", "url"), [(60, ""), (0, "?pool=true")], ids=["kept connections", "pool"]
)
def test_connections(expected, url):
    """
    Connections are kept for a minute, or by a pool.
    """
    environment = {**PRODUCTION, "DATABASE_URL": PRODUCTION["DATABASE_URL"] + url}
    assert str(expected) == show("settings.DATABASES['default']['CONN_MAX_AGE']", **environment)


def test_a_pool_is_large_enough_for_a_daphne():
    """
    A pool has ten connections, instead of psycopg's four.
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
        ("sentinel://USER:PASSWORD@HOST:PORT", {"REDIS_URL": "sentinel://one.example:26379"}),
        ('"DATABASE_URL"', {"DATABASE_URL": "oracel://x"}),
    ],
)
def test_a_mistake_stops_the_start_with_a_sentence(sentence, environment):
    """
    The error names the variable and the expected value, without a traceback.
    """
    done = run(["check"], **PRODUCTION | environment)
    assert 1 == done.returncode
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert ".." not in done.stderr


def test_deployment_is_sound():
    """
    Django's deployment check finds nothing in production settings.
    """
    done = run(["check", "--deploy", "--fail-level", "INFO"], **PRODUCTION)
    assert 0 == done.returncode, done.stderr


def test_migrations_are_complete(db):
    """
    The migrations agree with the models.
    """
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_twisted_is_for_processes_with_sockets():
    """
    `runserver` is Daphne's and imports Twisted; other commands don't.
    """
    assert "--noasgi" in run(["runserver", "--help"]).stdout
    assert "False" == show("'twisted' in __import__('sys').modules")
