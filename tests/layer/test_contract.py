"""The contract of channel layers: channels-redis' own tests of its pub/sub layer, with ours in its place."""

import os
import re
import subprocess
import sys
import tarfile
from importlib.metadata import version

from django.conf import settings as django_settings

CONFTEST = """
from django.conf import settings
settings.configure(SECRET_KEY="for-tests-only")
"""
THEIRS = "from channels_redis.pubsub import RedisPubSubChannelLayer"
OURS = "from pillarbox.layer.layers import NotificationChannelLayer as RedisPubSubChannelLayer"


def test_the_tests_of_channels_redis_pass(tmp_path):
    """
    Each test of the installed version's source distribution passes. Only names in it are replaced: the
    layer, the address of Redis, and a library that is part of Python now.
    """
    release = version("channels-redis")
    run(
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--no-binary",
        ":all:",
        f"channels-redis=={release}",
        cwd=tmp_path,
    )
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    (theirs,) = tmp_path.glob("*/tests/test_pubsub.py")
    text = theirs.read_text()
    for before, after in {
        THEIRS: OURS,
        "redis://localhost:6379": django_settings.REDIS_URL,
        "import async_timeout": "import asyncio as async_timeout",
    }.items():
        assert before in text
        text = text.replace(before, after)
    (tmp_path / "test_pubsub.py").write_text(text)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    said = run(
        "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:django", "test_pubsub.py", cwd=tmp_path
    )
    assert int(re.findall(r"(\d+) passed", said)[-1]) >= 17


def run(*command, cwd):
    """Run a module of Python without this run's coverage, and return what it printed."""
    environment = {key: value for key, value in os.environ.items() if "COV" not in key}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout
