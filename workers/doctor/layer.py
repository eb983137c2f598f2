"""The channel layer and the broker: does what is sent come back."""

import asyncio
import time
import uuid
from typing import Any

from celery import Celery
from channels.layers import get_channel_layer
from django.conf import settings

from ..app import app
from ..bell import waiting
from .findings import Answer, Finding, unless

#: How long a message may take to come back.
RETURN_SECONDS = 2.0
#: Messages for each host of several: where a group lives is a matter of its name.
EACH = 8
#: Beat sends none where two wait, and the bell one more.
MANY_MESSAGES = 100


def loops_back() -> Answer:
    """A message really goes through the channel layer, each of its hosts, and comes back."""
    configured: dict[str, Any] = settings.CHANNEL_LAYERS["default"]
    hosts = configured.get("CONFIG", {}).get("hosts") or [None]
    number = 1 if len(hosts) == 1 else EACH * len(hosts)
    times = asyncio.run(_send_around(number))
    came = [seconds for seconds in times if seconds is not None]
    lost = [_lost(number - len(came), number)] if len(came) < number else []
    return unless(lost, f"there and back in {max(came, default=0.0) * 1000:.1f} ms")


def broker_answers(celery: Celery = app) -> Answer:
    """Celery's broker can be reached; workers take what waits in it."""
    try:
        with celery.connection_for_write(connect_timeout=2) as broker:
            broker.connect()
            where, messages = broker.as_uri(), waiting(celery, broker)
    except Exception as error:  # noqa: BLE001  # each broker has errors of its own
        return [_away(error)]
    many = [_queued(messages)] if messages > MANY_MESSAGES else []
    return unless(many, f"{where}, {messages} waiting")


async def _send_around(number: int) -> list[float | None]:
    layer = get_channel_layer()
    return await asyncio.gather(*(_send_and_receive(layer, f"doctor.{i}") for i in range(number)))


async def _send_and_receive(layer: Any, group: str) -> float | None:
    """Return after how many seconds a message came back; None if it didn't."""
    channel, mark = await layer.new_channel(), uuid.uuid4().hex
    await layer.group_add(group, channel)
    try:
        async with asyncio.timeout(RETURN_SECONDS):
            start = time.monotonic()
            await layer.group_send(group, {"type": "probe", "mark": mark})
            message = await layer.receive(channel)
            # Another doctor's may come, too, and a word that something may have been missed.
            while message.get("mark") != mark:
                message = await layer.receive(channel)
            return time.monotonic() - start
    except TimeoutError:
        return None
    finally:
        await layer.group_discard(group, channel)


def _lost(lost: int, number: int) -> Finding:
    return Finding(
        what=f"Of {number} messages through the channel layer {lost} did not come back within "
        f"{RETURN_SECONDS:g} seconds.",
        why="Sockets get their notifications from the database, seconds later.",
        cure="See whether Redis' user may PUBLISH, SUBSCRIBE and EVAL (ACL LIST), and whether "
        "CHANNEL_LAYERS names the same hosts, in the same order, everywhere.",
        is_grave=True,
    )


def _away(error: Exception) -> Finding:
    return Finding(
        what=f"The broker can't be used: {' '.join(str(error).split())}",
        why="Nobody wakes the workers: rows wait in the outbox, and nothing is lost.",
        cure="Start it, or correct CELERY_BROKER_URL. `manage.py drain --forever` does without.",
        is_grave=True,
    )


def _queued(messages: int) -> Finding:
    return Finding(
        what=f"{messages} messages wait for the workers.",
        why="There should be one or two: nobody takes them, or somebody else sends to this queue.",
        cure="See whether the workers are connected to this broker, and whether another site has the "
        "same: each needs a broker, or a database number in it, of its own.",
    )
