"""Publishing: rows are handed to the channel layer. What becomes of them there is not its affair."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from channels.layers import get_channel_layer

from ..outbox.models import NotificationOutbox
from .conf import realtime_settings
from .envelope import envelope
from .groups import group_for


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What became of a batch. Rows in neither list stand behind a failed one of their stream."""

    rows: list[NotificationOutbox] = field(default_factory=list)
    failures: list[tuple[NotificationOutbox, Exception]] = field(default_factory=list)


async def publish(rows: Sequence[NotificationOutbox], epochs: Mapping[str, str]) -> Published:
    """
    Hand numbered rows, in order, to the channel layer; ``epochs`` maps each stream to its epoch.

    A row that can't be shown is among the failures and holds back what follows it in its stream.
    Raises whatever the layer raises, and TimeoutError, if the layer is away: then none counts as sent.
    """
    outcome = Published()
    messages: list[tuple[str, dict[str, Any]]] = []
    held_back: set[str] = set()
    for row in rows:
        if row.stream in held_back:
            continue
        try:
            message = envelope(row, epochs[row.stream])
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this row's own failure
            outcome.failures.append((row, error))
            held_back.add(row.stream)
        else:
            outcome.rows.append(row)
            messages.append((group_for(row.stream), message))
    if messages:
        async with asyncio.timeout(realtime_settings().PUBLISH_SECONDS):
            await _send(messages)
    return outcome


async def _send(messages: list[tuple[str, dict[str, Any]]]) -> None:
    layer: Any = get_channel_layer()
    if hasattr(layer, "group_send_many"):
        await layer.group_send_many(messages)
        return
    for group, message in messages:
        await layer.group_send(group, message)
