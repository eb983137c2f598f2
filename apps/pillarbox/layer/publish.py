"""Publishing: the step that hands rows to the channel layer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..conf import pillarbox_settings
from ..deadlines import timeout
from ..stream.rows import Row
from ..types.groups import group_for
from .envelope import envelope
from .layers import notification_layer

Message = tuple[str, dict[str, Any]]

#: The share of PUBLISH_SECONDS for the batch itself; the rest is for a probe of the channel layer.
BATCH_SHARE = 0.75


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """
    The result of publishing a batch: its published rows, and its failed rows with their errors.

    Rows in neither list follow a failed row of their stream. Or, if ``is_too_large``, the layer is live
    but didn't take the batch: the caller tries them again in smaller batches.
    """

    rows: list[Row] = field(default_factory=list)
    failures: list[tuple[Row, Exception]] = field(default_factory=list)
    is_too_large: bool = False


async def publish(rows: Sequence[Row]) -> Published:
    """
    Hand rows, in order, to the channel layer.

    A row that can't be made into an envelope, or that the layer refuses, is a failure. It holds back the
    later rows of its stream. If the layer is away, raises the layer's error or TimeoutError: then no row
    counts as published.
    """
    outcome, messages = _enveloped(rows)
    # A single row fails only if refused twice: the first refusal may be the last moment of an outage.
    tries = 2 if len(outcome.rows) == 1 else 1
    refusals: list[Exception] = []
    while len(refusals) < tries:
        error = await _refusal(messages, _probe(rows), pillarbox_settings().PUBLISH_SECONDS / tries)
        if error is None:
            return outcome
        refusals.append(error)
    if len(outcome.rows) == 1:
        return Published(failures=[*outcome.failures, (outcome.rows[0], refusals[-1])])
    return Published(failures=outcome.failures, is_too_large=True)


async def _refusal(messages: list[Message], probe: Message, seconds: float) -> Exception | None:
    """
    Send the messages. Returns None if the layer takes them, the error if it only takes a probe.

    Raises the probe's error if the layer doesn't take the probe either.
    """
    try:
        async with timeout(seconds * BATCH_SHARE):
            await _send(messages or [probe])
    except Exception as error:  # noqa: BLE001  # the probe tells an outage from a refusal
        # The probe goes to the Redis host of the first row, since some hosts may be away and others not.
        async with timeout(seconds * (1 - BATCH_SHARE)):
            await _send([probe])
        return error
    return None


def _probe(rows: Sequence[Row]) -> Message:
    """Return a message that sockets ignore."""
    return group_for(rows[0].stream), {"type": "probe"}


def _enveloped(rows: Sequence[Row]) -> tuple[Published, list[Message]]:
    outcome, messages = Published(), []
    held_back: set[str] = set()
    for row in rows:
        if row.stream in held_back:
            continue
        try:
            message = envelope(row)
        except Exception as error:  # noqa: BLE001  # any error here is this row's own failure
            outcome.failures.append((row, error))
            held_back.add(row.stream)
        else:
            outcome.rows.append(row)
            messages.append((group_for(row.stream), message))
    return outcome, messages


async def _send(messages: list[Message]) -> None:
    layer = notification_layer()
    if hasattr(layer, "group_send_many"):
        await layer.group_send_many(messages)
        return
    for group, message in messages:
        await layer.group_send(group, message)
