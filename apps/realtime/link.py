"""One Redis host, seen from one event loop: publishes, and listens to what is wanted."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from typing import Any

from channels_redis.utils import create_pool
from redis import asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from .deadlines import sleep

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 2.0
#: How long a command may take, and how long a join waits for Redis to confirm it.
ANSWER_SECONDS = 2.0
#: After so much silence the link asks whether Redis is there.
SILENCE_SECONDS = 5.0
RECONNECT_SECONDS = 1.0
#: A task that hasn't ended so long after it was cancelled is cancelled again.
SWALLOWED_SECONDS = 0.05
#: A pipeline spends four times as long, on reading as many answers as there are messages.
PUBLISH_MANY = "for i = 1, #ARGV, 2 do redis.call('PUBLISH', ARGV[i], ARGV[i + 1]) end"
#: Names in one SUBSCRIBE.
NAMES_AT_ONCE = 500


class Link:
    """
    Publishes on a pool, listens on one connection, which it keeps up and subscribed to what is wanted.

    ``deliver(name, data)`` is called for each message; ``missed(names)`` when messages for these
    names may have been missed: after each connection is made.
    """

    def __init__(
        self,
        host: dict[str, Any],
        deliver: Callable[[str, bytes], None],
        missed: Callable[[Iterable[str]], None],
    ) -> None:
        # redis-py 8 closes by default what is silent for five seconds, and allows 100 connections.
        options = {
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": ANSWER_SECONDS,
            "max_connections": 1000,
            "retry": Retry(NoBackoff(), 1),
        }
        self._redis = aioredis.Redis(connection_pool=create_pool({**options, **host}))
        listening = {**options, "retry": Retry(NoBackoff(), 0), "protocol": 2}
        self._listener = aioredis.Redis(connection_pool=create_pool({**host, **listening}))
        self._deliver = deliver
        self._missed = missed
        self._wanted: set[str] = set()
        self._changed = asyncio.Event()
        self._away = False
        self._heard = 0
        self._task: asyncio.Task[None] | None = None
        #: Names that Redis confirmed; that it was asked for, and didn't confirm yet; those of them
        #: for which a join waits; and those confirmed while none did, which may have missed something.
        self._confirmed: set[str] = set()
        self._unconfirmed: set[str] = set()
        self._awaited: dict[str, asyncio.Future[None]] = {}
        self._unheard: set[str] = set()

    @property
    def is_away(self) -> bool | None:
        """Whether Redis is away, as far as is known; None as long as nobody listens."""
        return None if self._task is None else self._away

    async def publish(self, name: str, data: bytes) -> None:
        """Send one message. Raises RedisError."""
        await self._redis.publish(name, data)

    async def publish_many(self, batch: Iterable[tuple[str, bytes]]) -> None:
        """Send messages in one command, in order. Raises RedisError."""
        words = [word for pair in batch for word in pair]
        await self._redis.eval(PUBLISH_MANY, 0, *words)

    def want(self, name: str) -> None:
        """Listen to a name from as soon as may be."""
        self._wanted.add(name)
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._listen())

    def unwant(self, name: str) -> None:
        """Listen to a name no longer."""
        self._wanted.discard(name)
        self._changed.set()

    async def join(self, name: str) -> None:
        """
        Listen to a name, and return when Redis has confirmed it.

        If Redis is away it returns all the same; `missed` is called for the name when it is back.
        """
        self.want(name)
        if self._away or name in self._confirmed:
            return
        confirmation = self._awaited.setdefault(name, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await asyncio.shield(confirmation)
        except TimeoutError:
            # Nobody waits for it any more: when it comes, it is a name that may have missed something.
            self._awaited.pop(name, None)

    async def flush(self) -> None:
        """Stop listening, forget what was wanted and close the connections."""
        if self._task is not None:
            await _end([self._task], SWALLOWED_SECONDS * 20)
            self._task = None
        self._wanted.clear()
        for client in (self._redis, self._listener):
            await client.aclose(close_connection_pool=True)

    async def _listen(self) -> None:
        while True:
            try:
                await self._session()
            except Exception as error:  # noqa: BLE001  # whatever broke, a new connection is the cure
                if not self._away:
                    logger.warning("Redis is away: %s", error, extra={"action": "redis_away"})
            self._away = True
            self._forget_connection()
            # With jitter, so that the processes of a site don't come back in step.
            await asyncio.sleep(RECONNECT_SECONDS * (0.5 + random.random()))  # noqa: S311

    async def _session(self) -> None:
        """Listen on one connection until it breaks. Raises what breaks it."""
        async with self._listener.pubsub() as pubsub:
            await pubsub.connect()
            if _is_cancelled():
                raise asyncio.CancelledError
            self._away = False
            parts = (self._read, self._ask, self._watch)
            tasks = [asyncio.create_task(part(pubsub)) for part in parts]
            try:
                await asyncio.gather(*tasks)
            finally:
                await _end(tasks, SWALLOWED_SECONDS)

    async def _ask(self, pubsub: Any) -> None:
        """Keep the connection subscribed to what is wanted."""
        asked: set[str] = set()
        while True:
            self._changed.clear()
            new, gone = list(self._wanted - asked), list(asked - self._wanted)
            self._unconfirmed.update(new)
            for start in range(0, len(new), NAMES_AT_ONCE):
                await pubsub.subscribe(*new[start : start + NAMES_AT_ONCE])
            if gone:
                self._confirmed.difference_update(gone)
                await pubsub.unsubscribe(*gone)
            asked.update(new)
            asked.difference_update(gone)
            await self._changed.wait()

    async def _read(self, pubsub: Any) -> None:
        """Deliver what arrives."""
        while True:
            message = await pubsub.get_message(timeout=None)
            self._heard += 1
            if message["type"] == "message":
                self._deliver(message["channel"].decode(), message["data"])
            elif message["type"] == "subscribe":
                self._confirm(message["channel"].decode())

    async def _watch(self, pubsub: Any) -> None:
        """Ask, in a silence, whether Redis is still there. Raises ConnectionError if it isn't."""
        while True:
            heard = self._heard
            await asyncio.sleep(SILENCE_SECONDS)
            if heard != self._heard:
                continue
            await pubsub.ping()
            await sleep(ANSWER_SECONDS)
            if heard == self._heard:
                raise RedisConnectionError("it does not answer")

    def _confirm(self, name: str) -> None:
        self._unconfirmed.discard(name)
        if name not in self._wanted:  # any more: who wants it again has to ask again
            return
        self._confirmed.add(name)
        if waiting := self._awaited.pop(name, None):
            waiting.set_result(None)
        else:
            self._unheard.add(name)
        if not self._unconfirmed and self._unheard:
            self._missed(self._unheard)
            self._unheard = set()

    def _forget_connection(self) -> None:
        for waiting in self._awaited.values():
            waiting.set_result(None)
        self._confirmed, self._unconfirmed, self._unheard = set(), set(), set()
        self._awaited = {}


async def _end(tasks: "list[asyncio.Task[None]]", patience: float) -> None:
    """Cancel tasks until they end: what redis-py does for them may swallow it, and then they go on."""
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=patience)
    await asyncio.gather(*tasks, return_exceptions=True)


def _is_cancelled() -> bool:
    """Whether this task was asked to end. redis-py may swallow that while it connects."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
