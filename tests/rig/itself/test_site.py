"""Tests of servers that can be killed, and of the limit of open files."""

import resource
import subprocess
import sys

import psutil
import pytest
import redis

from config.embedded import redis_url
from tests.rig.command import allow_files
from tests.rig.keeper import keeper
from tests.rig.servers import ServedProcesses, is_dead, kill_tree


@pytest.fixture
def site(tmp_path):
    """Yield a site that has only a Redis."""
    site = ServedProcesses(tmp_path)
    keeper().serve(site.data_dir, postgres=False)
    yield site
    site._remove()
    assert not site.data_dir.exists()


def test_redis_loses_its_data(site):
    """
    Redis still runs after its keys were deleted. It can be killed and started again.
    """
    with redis.Redis.from_url(redis_url(site.data_dir)) as client:
        client.set("a", 1)
        site.flush_redis()
        assert None is client.get("a")
    site.kill_redis()
    keeper().serve(site.data_dir)
    with redis.Redis.from_url(redis_url(site.data_dir)) as client:
        assert client.ping()


def test_a_family_is_killed():
    """
    A process counts as dead when it is gone, and also while its parent has not waited for it.
    """
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    process = psutil.Process(parent.pid)
    while not (children := process.children()):
        pass
    kill_tree(parent.pid)
    assert is_dead(process)
    parent.communicate()
    assert all(map(is_dead, [process, *children]))


def test_the_limit_of_open_files():
    """
    The limit is raised as far as the system allows, and never lowered.
    """
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 10, hard))
        for count, expected in ((5, soft - 10), (soft - 4, soft - 4)):
            allow_files(count)
            assert (expected, hard) == resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
