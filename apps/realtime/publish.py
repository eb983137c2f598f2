"""Publishing: rows are handed to the channel layer. What becomes of them there is not its affair."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from channels.layers import get_channel_layer

from ..outbox.rows import Row
from .conf import realtime_settings
from .deadlines import timeout
from .envelope import envelope
from .groups import group_for

Message = tuple[str, dict[str, Any]]

#: The share of PUBLISH_SECONDS that a batch may take; the rest is for asking whether the layer is there.
BATCH_SHARE = 0.75


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """
    What became of a batch.

    Rows in neither list stand behind a failed one of their stream; or the batch didn't go through, though
    the layer is there: they are to be tried again, fewer at once.
    """

    rows: list[Row] = field(default_factory=list)
    failures: list[tuple[Row, Exception]] = field(default_factory=list)
    is_too_large: bool = False


async def publish(rows: Sequence[Row]) -> Published:
    """
    Hand rows, in order, to the channel layer.

    A row that can't be shown, or that the layer refuses, is among the failures, and holds back what
    follows it in its stream.
    Raises whatever the layer raises, and TimeoutError, if it is away: then none counts as published.
    """
    outcome, messages = _shown(rows)
    seconds = realtime_settings().PUBLISH_SECONDS
    try:
        async with timeout(seconds * BATCH_SHARE):
            await _send(messages or [_probe(rows)])
    except Exception as error:  # noqa: BLE001  # what it is shows in whether the layer takes anything
        # Asked on the way of the first of them, since each host may be there or not.
        async with timeout(seconds * (1 - BATCH_SHARE)):
            await _send([_probe(rows)])
        if len(outcome.rows) == 1:
            return Published(failures=[*outcome.failures, (outcome.rows[0], error)])
        return Published(failures=outcome.failures, is_too_large=True)
    return outcome


def _probe(rows: Sequence[Row]) -> Message:
    """Return a message that no socket minds."""
    return group_for(rows[0].stream), {"type": "probe"}


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


async def _send(messages: list[Message]) -> None:
    layer: Any = get_channel_layer()
    if hasattr(layer, "group_send_many"):
        await layer.group_send_many(messages)
        return
    for group, message in messages:
        await layer.group_send(group, message)
