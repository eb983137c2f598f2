"""Ports for servers of tests: each is given once, and no other program takes it before it is used."""

import fcntl
import random
import socket
from pathlib import Path
from typing import IO

#: Below the ephemeral ports of Linux and macOS, which the system gives to other programs.
PORTS = range(20_000, 32_000)
#: A file for each port that a process has reserved; it is locked while the process runs.
FOLDER = Path(__file__).parent.parent / ".data" / "ports"

_held: list[IO[str]] = []


def free_port() -> int:
    """Return a free port. No other process gets it from this function while this process runs."""
    ports = random.SystemRandom().sample(PORTS, len(PORTS))
    return next(port for port in ports if _is_reserved(port) and not answers(port))


def answers(port: int) -> bool:
    """Whether a server listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_reserved(port: int) -> bool:
    """Try to lock a port's file until this process ends. Return whether it was free."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    lock = (FOLDER / str(port)).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return False
    _held.append(lock)
    return True
