"""RabbitMQ of Debian's package, which can be killed and started again."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.ports import answers, free_port
from tests.waiting import PATIENCE, wait_until

# The program itself: the one in /usr/sbin changes the user.
PROGRAM = shutil.which("rabbitmq-server", path="/usr/lib/rabbitmq/bin")
# CI installs it, and must not skip these tests.
needs_rabbitmq = pytest.mark.skipif(
    not PROGRAM and not os.environ.get("CI"), reason="needs Debian's package rabbitmq-server"
)


class RabbitMQ:
    """A broker with a folder and ports of its own."""

    def __init__(self, folder: Path, names: int) -> None:
        self._folder, self._port = folder, free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}//"
        self._environment = {
            **os.environ,
            "HOME": str(folder),  # of the cookie
            "ERL_EPMD_PORT": str(names),
            "RABBITMQ_NODENAME": f"test{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_LOGS": "-",
            # None of the machine's own configuration.
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(folder / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        }

    def start(self) -> None:
        """Start the broker, and wait until it accepts connections."""
        log = self._folder / "rabbitmq.log"
        with log.open("ab") as output:
            self._process = process = subprocess.Popen(
                [PROGRAM or "rabbitmq-server"],
                env=self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_until(lambda: process.poll() is not None or answers(self._port), "RabbitMQ answers")
        assert process.poll() is None, log.read_text()

    def kill(self) -> None:
        """Kill the broker with its children, and wait until its port is free."""
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        wait_until(lambda: not answers(self._port), "RabbitMQ's port is free")


@contextmanager
def rabbitmq_server(folder: Path) -> Iterator[RabbitMQ]:
    """Run a broker, with an Erlang name server of its own."""
    names = free_port()
    command = ["epmd", "-address", "127.0.0.1", "-port", str(names)]
    epmd = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    broker = RabbitMQ(folder, names)
    try:
        wait_until(lambda: answers(names), "the name server answers")
        try:
            broker.start()
            yield broker
        finally:
            broker.kill()
    finally:
        epmd.terminate()
        epmd.wait(PATIENCE)
