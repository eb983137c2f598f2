"""Faults of processes, servers, messages and clients' connections; each is undone after a while."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence

from .failpoints import LOSE
from .history import Broken, Record
from .proxy import Proxy
from .site import Site

#: The first fault comes after at most so many seconds.
FIRST_SECONDS = 5.0
#: How long a client is cut off, and how long Redis is taken away, in seconds.
CUT_SECONDS, AWAY_SECONDS = 2.0, 60.0


class Faults:
    """The faults of a site, one method each. A method returns once its fault is undone."""

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
        """Cause one fault after the other until the run is over. Does nothing if there are no names."""
        await pass_time(min(every, FIRST_SECONDS), self.over)
        while self.names and not self.over.is_set():
            at = time.time()
            await asyncio.to_thread(self.cause_next)
            await pass_time(at + every - time.time(), self.over)

    def cause_next(self) -> None:
        """Cause the next fault. Each name comes once, in order; after that they are drawn at random."""
        first = self.names[self.count :]
        name = first[0] if first else self.random.choice(self.names)
        self.count += 1
        at = time.time()
        getattr(self, name)()
        self.history.append(Broken(fault=name, at=at, until=time.time()))

    def _wait(self, least: float, most: float) -> None:
        time.sleep(self.random.uniform(least, most))

    def _worker(self) -> str:
        """Return the next worker in turn, or "" if no worker runs."""
        workers = self.site.workers
        self._next_worker += 1
        return workers[self._next_worker % len(workers)] if workers else ""

    def _kill(self, name: str) -> None:
        """Kill a process and start it again, as a supervisor would. Does nothing if it doesn't run."""
        if name in self.site.running:  # the plain pattern has no worker and no beat
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
        self.site.set_failpoint(LOSE)
        self._wait(2, 5)
        self.site.clear_failpoint(LOSE)


async def break_repeatedly(
    proxy: Proxy, client: str, every: float, seed: str, over: asyncio.Event, history: list[Record]
) -> None:
    """Break a client's connection about every ``every`` seconds: by a reset, half open, or stalled."""
    chance = random.Random(seed)
    faults: tuple[tuple[str, Callable[[], None]], ...] = (
        ("reset", proxy.reset),
        ("half_open", proxy.stall),
        ("stall", proxy.stall),
    )
    await pass_time(chance.uniform(0, every), over)
    while not over.is_set():
        name, cause = chance.choice(faults)
        at = time.time()
        cause()
        if name == "reset":
            await proxy.refuse()
        await pass_time(CUT_SECONDS, over)
        if name == "half_open":
            proxy.cut()
        proxy.resume()
        await proxy.accept()
        history.append(Broken(fault=name, at=at, until=time.time(), client=client))
        await pass_time(chance.uniform(0.5, 1.5) * every, over)


async def pass_time(seconds: float, over: asyncio.Event) -> None:
    """Wait for some seconds, or until the run is over if that is sooner."""
    waiting = asyncio.create_task(over.wait())
    try:
        await asyncio.wait([waiting], timeout=max(0.0, seconds))
    finally:
        waiting.cancel()
