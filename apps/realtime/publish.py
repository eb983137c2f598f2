"""Publishing: rows are handed to the channel layer. What becomes of them there is not its affair."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from channels.layers import get_channel_layer

from ..outbox.rows import Row
from .conf import realtime_settings
from .envelope import envelope
from .groups import group_for

Message = tuple[str, dict[str, Any]]

#: For a group that nobody joins.
PROBE: Message = ("stream.probe", {"type": "probe"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What became of a batch. Rows in neither list stand behind a failed one of their stream."""

    rows: list[Row] = field(default_factory=list)
    failures: list[tuple[Row, Exception]] = field(default_factory=list)


async def publish(rows: Sequence[Row]) -> Published:
    """
    Hand rows, in order, to the channel layer.

    A row that can't be shown, or that the layer refuses, is among the failures, and holds back what
    follows it in its stream.
    Raises whatever the layer raises, and TimeoutError, if it is away: then none counts as published.
    """
    outcome, messages = _shown(rows)
    async with asyncio.timeout(realtime_settings().PUBLISH_SECONDS):
        try:
            await _send(messages)
        except Exception:  # noqa: BLE001  # what it is shows in whether the layer takes anything
            await _send([PROBE])
            return await _one_by_one(outcome, messages)
    return outcome


def _shown(rows: Sequence[Row]) -> tuple[Published, list[Message]]:
    outcome, messages = Published(), []
    held_back: set[str] = set()
    for row in rows:
        if row.stream in held_back:
            continue
        try:
            message = envelope(row)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this row's own failure
            outcome.failures.append((row, error))
            held_back.add(row.stream)
        else:
            outcome.rows.append(row)
            messages.append((group_for(row.stream), message))
    return outcome, messages


async def _one_by_one(shown: Published, messages: list[Message]) -> Published:
    """Send what can be sent of a batch of which the layer refuses something."""
    outcome = Published(failures=shown.failures)
    held_back: set[str] = set()
    for row, message in zip(shown.rows, messages, strict=True):
        if row.stream in held_back:
            continue
        try:
            await _send([message])
        except Exception as error:  # noqa: BLE001  # if the layer takes anything, it is this row's own
            await _send([PROBE])
            outcome.failures.append((row, error))
            held_back.add(row.stream)
        else:
            outcome.rows.append(row)
    return outcome


async def _send(messages: list[Message]) -> None:
    layer: Any = get_channel_layer()
    if hasattr(layer, "group_send_many"):
        await layer.group_send_many(messages)
        return
    for group, message in messages:
        await layer.group_send(group, message)
