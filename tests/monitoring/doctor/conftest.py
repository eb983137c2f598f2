"""Servers in the state that the doctor expects."""

import pytest
import redis
from django.conf import settings as django_settings

from pillarbox.monitoring.doctor import tables
from tests.database import alter_system

from .situations import found, sql


@pytest.fixture
def durable():
    """Turn `fsync` on, as at a real site; the tests' servers run without."""
    alter_system("fsync = on")
    yield
    alter_system("fsync = off")


@pytest.fixture
def mended():
    """Restore the outbox's indexes after a test, by the doctor's own remedies."""
    assert [] == found(tables.are_complete())
    yield
    for finding in tables.are_complete() if found(tables.are_complete()) else []:
        sql(finding.cure)
    assert [] == found(tables.are_complete())


@pytest.fixture
def server():
    """A client of the tests' Redis; its settings are restored afterwards."""
    with redis.Redis.from_url(django_settings.REDIS_URL, decode_responses=True) as client:
        names = ("maxmemory", "maxmemory-policy", "maxclients")
        before = {name: client.config_get(name)[name] for name in names}
        yield client
        for name, value in before.items():
            client.config_set(name, value)
        client.replicaof("NO", "ONE")
