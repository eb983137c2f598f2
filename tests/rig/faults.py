"""Faults of a run, each made good again: of processes, servers, messages, and lines of clients."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence

from .history import Broken, Record
from .orders import LOSE
from .proxy import Proxy
from .site import Site

#: When the first fault comes, at the latest.
FIRST_SECONDS = 5.0
#: How long a client's line is cut, and how long Redis is taken away, in seconds.
CUT_SECONDS, AWAY_SECONDS = 2.0, 60.0


class Faults:
    """Faults of a site, by name. Each method returns when its fault is made good."""

    def __init__(
        self,
        site: Site,
        names: Sequence[str],
        seed: str,
        over: asyncio.Event,
        history: list[Record],
    ) -> None:
        self.site, self.names, self.over, self.history = site, names, over, history
        self.random = random.Random(seed)
        self.count = 0
        self._next_worker = 0

    async def run(self, every: float) -> None:
        """Cause one after the other until the run is over; none if there are no names."""
        await pass_time(min(every, FIRST_SECONDS), self.over)
        while self.names and not self.over.is_set():
            at = time.time()
            await asyncio.to_thread(self.cause_next)
            await pass_time(at + every - time.time(), self.over)

    def cause_next(self) -> None:
        """Cause the next fault: each of the names once, in order, and then any at random."""
        first = self.names[self.count :]
        name = first[0] if first else self.random.choice(self.names)
        self.count += 1
        at = time.time()
        getattr(self, name)()
        self.history.append(Broken(fault=name, at=at, until=time.time()))

    def _wait(self, least: float, most: float) -> None:
        time.sleep(self.random.uniform(least, most))

    def _worker(self) -> str:
        """Return the worker whose turn it is, if there is one."""
        workers = self.site.workers
        self._next_worker += 1
        return workers[self._next_worker % len(workers)] if workers else ""

    def _kill(self, name: str) -> None:
        """Kill a process, if there is one, and start it again, as a supervisor would."""
        if name in self.site.running:  # the plain pattern has neither worker nor beat
            self.site.kill(name)
            self._wait(0, 0.5)
            self.site.launch(name)

    def kill_worker(self) -> None:
        self._kill(self._worker())

    def freeze_worker(self) -> None:
        if name := self._worker():
            self.site.freeze(name)
            self._wait(1, 4)
            self.site.resume(name)

    def kill_beat(self) -> None:
        self._kill("beat")

    def kill_writer(self) -> None:
        self._kill(f"writer{self.random.choice((1, 2))}")

    def kill_daphne(self) -> None:
        self.site.kill("daphne")
        self._wait(0, 0.5)
        self.site.start("daphne")

    def restart_daphne(self) -> None:
        self.site.stop("daphne")
        self.site.start("daphne")

    def kill_redis(self) -> None:
        self.site.kill_redis()
        self._wait(0, 2)
        self.site.start_servers()

    def flush_redis(self) -> None:
        self.site.flush_redis()

    def kill_postgres(self) -> None:
        self.site.kill_postgres()
        self._wait(0, 1)
        self.site.start_servers()

    def take_redis_away(self) -> None:
        self.site.kill_redis()
        end = time.monotonic() + AWAY_SECONDS
        while time.monotonic() < end and not self.over.is_set():
            time.sleep(0.1)
        self.site.start_servers()

    def lose_messages(self) -> None:
        self.site.order(LOSE)
        self._wait(2, 5)
        self.site.revoke(LOSE)


async def cut_now_and_then(
    line: Proxy, client: str, every: float, seed: str, over: asyncio.Event, history: list[Record]
) -> None:
    """Cut a client's line about so often: with a reset, half open until it is cut, or only stalled."""
    chance = random.Random(seed)
    faults: tuple[tuple[str, Callable[[], None]], ...] = (
        ("reset", line.reset),
        ("half_open", line.stall),
        ("stall", line.stall),
    )
    await pass_time(chance.uniform(0, every), over)
    while not over.is_set():
        name, cause = chance.choice(faults)
        at = time.time()
        cause()
        if name == "reset":
            await line.refuse()
        await pass_time(CUT_SECONDS, over)
        if name == "half_open":
            line.cut()
        line.resume()
        await line.accept()
        history.append(Broken(fault=name, at=at, until=time.time(), client=client))
        await pass_time(chance.uniform(0.5, 1.5) * every, over)


async def pass_time(seconds: float, over: asyncio.Event) -> None:
    """Let time pass, but no longer than until the run is over."""
    waiting = asyncio.create_task(over.wait())
    try:
        await asyncio.wait([waiting], timeout=max(0.0, seconds))
    finally:
        waiting.cancel()
