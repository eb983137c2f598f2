"""Round trips through the channel layer, and the state of the broker."""

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any

import redis

from ...formats import milliseconds, number, one_line
from ...layer.addresses import broker_url, layer_hosts
from ...layer.layers import notification_layer
from ...relay.celery_wake_ups import celery_app, queued
from .findings import Finding, Needs, Outcome, findings_or

if TYPE_CHECKING:
    from celery import Celery

#: Time limit of a round trip.
RETURN_SECONDS = 2.0
#: Messages sent per host, if there are several. A group's name decides its host, so one isn't enough.
EACH = 8
#: Normal is three at most: beat stops at two, and the wake-up adds one.
MANY_MESSAGES = 100


def loops_back() -> Outcome | Needs:
    """Check that messages come back from each host of the channel layer."""
    try:
        layer, hosts = notification_layer(), len(layer_hosts())
    except Exception:  # noqa: BLE001  # the layer's own class may raise anything
        layer = None
    if layer is None:
        return Needs("settings")
    messages = EACH * hosts if hosts > 1 else 1
    try:
        times = asyncio.run(_send_round_trips(layer, messages))
    except (redis.RedisError, OSError) as error:
        return [_unusable(error)]
    came = [seconds for seconds in times if seconds is not None]
    lost = [_lost(messages - len(came), messages)] if len(came) < messages else []
    return findings_or(lost, f"came back in {milliseconds(max(came, default=0.0), decimals=1)}")


def broker_answers(celery: "Celery | None" = None) -> Outcome:
    """Check that Celery's broker can be reached, and that workers take its messages."""
    if not broker_url():
        return "not needed: CELERY_BROKER_URL is not set"
    celery = celery or celery_app()
    try:
        with celery.connection_for_write(connect_timeout=2) as broker:
            broker.connect()
            where, messages = broker.as_uri(), queued(celery, broker)
    except Exception as error:  # noqa: BLE001  # each broker has errors of its own
        return [_away(error)]
    many = [_queued(messages)] if messages > MANY_MESSAGES else []
    return findings_or(many, f"{where}, {number(messages)} waiting")


async def _send_round_trips(layer: Any, messages: int) -> list[float | None]:
    return await asyncio.gather(*(_send_and_receive(layer, f"doctor.{i}") for i in range(messages)))


async def _send_and_receive(layer: Any, group: str) -> float | None:
    """Return the seconds that a message took to come back, or None if it didn't."""
    channel, mark = await layer.new_channel(), uuid.uuid4().hex
    await layer.group_add(group, channel)
    try:
        async with asyncio.timeout(RETURN_SECONDS):
            start = time.monotonic()
            await layer.group_send(group, {"type": "probe", "mark": mark})
            message = await layer.receive(channel)
            # Messages of another doctor may arrive too, and the layer's note that some were missed.
            while message.get("mark") != mark:
                message = await layer.receive(channel)
            return time.monotonic() - start
    except TimeoutError:
        return None
    finally:
        await layer.group_discard(group, channel)


def _unusable(error: Exception) -> Finding:
    return Finding(
        what=f"The channel layer can't be used: {one_line(error)}",
        why="Sockets read notifications from the database, seconds late.",
        cure="Start its server, or correct CHANNEL_LAYERS.",
        is_grave=True,
    )


def _lost(lost: int, messages: int) -> Finding:
    return Finding(
        what=f"Of {messages} messages through the channel layer {lost} did not come back within "
        f"{RETURN_SECONDS:g} seconds.",
        why="Sockets read notifications from the database, seconds late.",
        cure="Make sure that Redis' user may PUBLISH, SUBSCRIBE and EVAL (ACL LIST), and that "
        "CHANNEL_LAYERS names the same hosts, in the same order, everywhere.",
        is_grave=True,
    )


def _away(error: Exception) -> Finding:
    return Finding(
        what=f"The broker can't be used: {one_line(error)}",
        why="Workers aren't woken: rows wait in the outbox, and nothing is lost.",
        cure="Start it, or correct CELERY_BROKER_URL. `manage.py pillarbox run` needs none.",
        is_grave=True,
    )


def _queued(messages: int) -> Finding:
    return Finding(
        what=f"{number(messages)} messages wait for the workers.",
        why="There should be one or two. No worker takes them, or another program sends to this queue.",
        cure="Make sure that the workers are connected to this broker, and that no other site uses it: "
        "each needs its own broker, or its own database number in it.",
    )
