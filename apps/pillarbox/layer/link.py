"""The link between one event loop and one Redis host: it publishes and listens."""

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Any

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from ..deadlines import sleep
from ..formats import one_line
from ..logs import get_logger
from .cancellation import end, is_task_cancelled
from .names import Names
from .redis_clients import aclose, async_redis_client

logger = get_logger(__name__)

CONNECT_SECONDS = 2.0
#: The longest time for a command, and for Redis to confirm a join.
ANSWER_SECONDS = 2.0
#: How long one read of the connection waits for a message.
IDLE_SECONDS = 3600.0
#: The silence after which the link sends a ping to Redis.
SILENCE_SECONDS = 5.0
RECONNECT_SECONDS = 1.0
#: The pause before a cancelled task that still runs is cancelled again.
SWALLOWED_SECONDS = 0.05
#: A script, since a pipeline takes four times as long: it reads one answer for each message.
PUBLISH_MANY = "for i = 1, #ARGV, 2 do redis.call('PUBLISH', ARGV[i], ARGV[i + 1]) end"
#: Messages in one script. Some managed servers take at most 4000 arguments in a command.
MESSAGES_AT_ONCE = 1900
#: Names in one SUBSCRIBE.
NAMES_AT_ONCE = 500


class Link:
    """
    A link to one Redis host: a pool to publish, and one connection that listens to the wanted names.

    It replaces a broken connection. It calls ``deliver(name, data)`` for each message, and
    ``missed(names)`` when messages for these names may have been missed, as after each new connection.
    """

    def __init__(
        self,
        host: dict[str, Any],
        deliver: Callable[[str, bytes], None],
        missed: Callable[[Iterable[str]], None],
    ) -> None:
        # By default, redis-py 8 closes a connection after five seconds of silence, and allows only 100.
        options = {
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": ANSWER_SECONDS,
            "max_connections": 1000,
            "retry": Retry(NoBackoff(), 1),
        }
        self._redis = async_redis_client(options | host)
        listening = {**options, "retry": Retry(NoBackoff(), 0), "protocol": 2}
        self._listener = async_redis_client(host, **listening)
        self._deliver = deliver
        self._names = Names(missed)
        self._away = False
        self._received = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def is_away(self) -> bool | None:
        """Return True if the link has lost Redis; None if it doesn't listen."""
        return None if self._task is None else self._away

    async def publish(self, name: str, data: bytes) -> None:
        """Send one message. Raises RedisError."""
        await self._redis.publish(name, data)

    async def publish_many(self, batch: Iterable[tuple[str, bytes]]) -> None:
        """Send messages in order, in one write for each `MESSAGES_AT_ONCE`. Raises RedisError."""
        pairs = list(batch)
        for start in range(0, len(pairs), MESSAGES_AT_ONCE):
            await self._publish_at_once(pairs[start : start + MESSAGES_AT_ONCE])

    async def _publish_at_once(self, pairs: list[tuple[str, bytes]]) -> None:
        # A replica passes messages to its own subscribers only. Its address may lead to the primary now.
        for _ in range(2):
            if not _is_replica(await self._send(pairs)):
                return
            await self._redis.connection_pool.disconnect(inuse_connections=False)

    async def _send(self, pairs: list[tuple[str, bytes]]) -> Any:
        """Send messages in one write; return what Redis says about itself."""
        arguments = [argument for pair in pairs for argument in pair]
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.execute_command("HELLO")
            pipeline.eval(PUBLISH_MANY, 0, *arguments)
            about, refusal = await pipeline.execute(raise_on_error=False)
        if isinstance(refusal, ResponseError):
            # Some servers offer no scripts, and a server without free memory refuses them.
            async with self._redis.pipeline(transaction=False) as pipeline:
                for name, data in pairs:
                    pipeline.publish(name, data)
                await pipeline.execute()
        return about

    def start_listening(self, name: str) -> None:
        """Start listening to the name of a group or channel, without waiting for Redis."""
        self._names.add(name)
        if self._task is None:
            self._task = asyncio.create_task(self._listen())

    def stop_listening(self, name: str) -> None:
        """Stop listening to the name of a group or channel, without waiting for Redis."""
        self._names.discard(name)

    async def join(self, name: str) -> None:
        """
        Start listening to a name, and wait until Redis has confirmed it.

        If Redis is away, returns anyway, and calls `missed` for the name once Redis is back.
        """
        self.start_listening(name)
        if not self._away and not self._names.is_confirmed(name):
            await self._names.confirmation(name, ANSWER_SECONDS)

    async def flush(self) -> None:
        """Stop listening, forget the wanted names and close the connections."""
        if self._task is not None:
            await end([self._task], pause=SWALLOWED_SECONDS * 20)
            self._task = None
        self._names.clear()
        for client in (self._redis, self._listener):
            await aclose(client)

    async def _listen(self) -> None:
        while True:
            try:
                await self._session()
            except Exception as error:  # noqa: BLE001  # a new connection is the answer to any error
                if not self._away:
                    logger.warning(
                        "Redis is away: %s", one_line(error), extra={"action": "redis_away"}
                    )
            self._away = True
            self._names.forget_connection()
            # Jitter, so that the processes of a site don't reconnect all at once.
            await asyncio.sleep(RECONNECT_SECONDS * (0.5 + random.random()))  # noqa: S311

    async def _session(self) -> None:
        """Listen on one connection until it breaks. Raises the error that broke it."""
        async with self._listener.pubsub() as pubsub:
            await pubsub.connect()
            if is_task_cancelled():
                raise asyncio.CancelledError
            self._away = False
            parts = (self._read, self._ask, self._watch)
            tasks = [asyncio.create_task(part(pubsub)) for part in parts]
            try:
                await asyncio.gather(*tasks)
            finally:
                await end(tasks, pause=SWALLOWED_SECONDS)

    async def _ask(self, pubsub: Any) -> None:
        """Keep the connection subscribed to exactly the wanted names."""
        while True:
            new, gone = await self._names.changes()
            for start in range(0, len(new), NAMES_AT_ONCE):
                await pubsub.subscribe(*new[start : start + NAMES_AT_ONCE])
            if gone:
                await pubsub.unsubscribe(*gone)

    async def _read(self, pubsub: Any) -> None:
        """Deliver arriving messages, and note confirmations."""
        while True:
            # Without an end, redis-py before 8.1 takes silence for an outage.
            message = await pubsub.get_message(timeout=IDLE_SECONDS)
            self._received += 1
            match message:
                case {"type": "message", "channel": name, "data": data}:
                    self._deliver(name.decode(), data)
                case {"type": "subscribe", "channel": name}:
                    self._names.confirm(name.decode())

    async def _watch(self, pubsub: Any) -> None:
        """Ping Redis after a silence. Raises ConnectionError if there is no answer."""
        while True:
            received = self._received
            await asyncio.sleep(SILENCE_SECONDS)
            if received != self._received:
                continue
            await pubsub.ping()
            await sleep(ANSWER_SECONDS)
            if received == self._received:
                raise RedisConnectionError("it does not answer")


def _is_replica(about: Any) -> bool:
    """Return whether an answer to HELLO is a replica's. It is a list in the protocol's second version."""
    words = about.values() if isinstance(about, dict) else about
    return not isinstance(about, ResponseError) and b"replica" in words
