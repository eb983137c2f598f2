"""Tests of the doctor's check of the sentinels."""

from pillarbox.monitoring.doctor import layer, sentinels
from tests.redis_servers import BehindSentinel, needs_redis_server
from tests.waiting import wait_until

from .situations import found, one


def name_hosts(settings, *hosts):
    ours = settings.CHANNEL_LAYERS["default"] | {"CONFIG": {"hosts": hosts}}
    settings.CHANNEL_LAYERS = {"default": ours}


def test_without_sentinels(settings):
    """
    A Redis without Sentinel has none.
    """
    name_hosts(settings, "redis://one.example")
    assert "nothing to check: no Redis is behind Sentinel" == sentinels.are_ready()


@needs_redis_server
def test_sentinels(settings, tmp_path):
    """
    Sentinels that are ready are counted. One that is away or doesn't know the master is a finding, and so
    is a master without a replica. The layer works meanwhile.
    """
    with BehindSentinel(tmp_path) as redises:
        host = {"sentinels": redises.sentinels, "master_name": redises.NAME}
        name_hosts(settings, host)
        assert "3 sentinels" == sentinels.are_ready()
        name_hosts(settings, host | {"sentinels": [*redises.sentinels, ("127.0.0.1", 1)]})
        assert "The sentinel at 127.0.0.1:1 says nothing of site" in one(sentinels.are_ready()).what
        name_hosts(settings, host | {"master_name": "other"})
        assert 4 == len(found(sentinels.are_ready()))
        name_hosts(settings, host)
        redises.replica.kill()
        wait_until(lambda: found(sentinels.are_ready()), "the sentinels miss the replica")
        assert "know no replica of site that is up" in one(sentinels.are_ready()).what
        assert layer.loops_back().startswith("came back in ")
