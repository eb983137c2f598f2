"""Servers as the doctor wants them."""

import pytest
import redis
from django.conf import settings as django_settings

from tests.database import alter_system
from workers.doctor import tables

from .asking import found, sql


@pytest.fixture
def durable():
    """The servers of tests needn't survive a power cut; here they must."""
    alter_system("fsync = on")
    yield
    alter_system("fsync = off")


@pytest.fixture
def mended():
    """Whatever a test does to the outbox's indexes, what the doctor says mends it."""
    assert [] == found(tables.are_whole())
    yield
    for finding in tables.are_whole() if found(tables.are_whole()) else []:
        sql(finding.cure)
    assert [] == found(tables.are_whole())


@pytest.fixture
def server():
    """The tests' Redis; its settings are put back."""
    with redis.Redis.from_url(django_settings.REDIS_URL, decode_responses=True) as client:
        names = ("maxmemory", "maxmemory-policy", "maxclients")
        before = {name: client.config_get(name)[name] for name in names}
        yield client
        for name, value in before.items():
            client.config_set(name, value)
        client.replicaof("NO", "ONE")
