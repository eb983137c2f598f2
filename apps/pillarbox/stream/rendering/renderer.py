"""Rendering of batches: takes rows without payload, renders them and settles them."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from threading import Lock
from typing import TypeVar

from ...conf import pillarbox_settings
from ...exceptions import ShardBusyError
from .batches.batch import Batch, release
from .batches.settling import Settled, settle
from .batches.taking import take, take_untried
from .batches.watchdog import watched
from .render import render
from .results import Rendered

T = TypeVar("T")
#: Called with the shard of a settled batch, before the numbering lock is released.
Then = Callable[[int], T]

#: Held by the one thread of this process that may render in place of workers.
_in_place_of_workers = Lock()


def render_batch(shard: int, *, using: str) -> int:
    """
    Render the shard's next batch; return how many rows were settled.

    Return 0 if there are no rows, if another process renders the shard or has taken the batch over, or if a
    lock isn't free in time. The batch is then released, and no death is counted.
    Raises the errors of `render`. The batch then counts as left by a process that died.
    """
    return _rows(_render(_batch(shard, using), using, False, _nothing))


def render_batches(
    shards: Sequence[int], *, using: str, ends_process: bool, then: Then[T]
) -> Generator[tuple[int, Settled[T]], None, None]:
    """
    Render the next batches of the first of these shards; yield each shard whose batch was settled.

    Batches are rendered together up to ``BATCH_ROWS`` rows, so that a change is rendered once for all its
    streams. Rows that processes died with are rendered alone. A batch is settled when the caller has
    finished with the one before; if the caller stops, the rest is settled without ``then``.
    If the project's code hangs, other processes take the batches and count a death; with
    ``ends_process`` this process ends. Raises the errors of `render`, as `render_batch` does.
    """
    batches = _take_together(shards, using)
    yield from _render(batches, using, ends_process, then)
    if shards[0] not in {batch.shard for batch in batches}:
        alone = _batch(shards[0], using)
        yield from _render(alone, using, ends_process, then)


def render_untried(shard: int, *, using: str) -> int:
    """
    Render like `render_batch`, but only rows that no process died with, and never end this process.
    """
    try:
        return _rows(_render(_batch(shard, using, untried_only=True), using, False, _nothing))
    except SystemExit:  # raised by the project's code; a worker would end
        return 0


def render_in_place_of_workers(shards: Iterable[int], *, using: str) -> None:
    """Call `render_untried` for each shard, unless another thread does; so at most one thread can hang."""
    if _in_place_of_workers.acquire(blocking=False):
        try:
            for shard in shards:
                render_untried(shard, using=using)
        finally:
            _in_place_of_workers.release()


def _take_together(shards: Iterable[int], using: str) -> list[Batch]:
    """Take batches of untried rows, until they have ``BATCH_ROWS`` rows together."""
    batches: list[Batch] = []
    for shard in shards:
        if sum(len(batch.rows) for batch in batches) >= pillarbox_settings().BATCH_ROWS:
            break
        if batch := take_untried(shard, using=using):
            batches.append(batch)
    return batches


def _batch(shard: int, using: str, *, untried_only: bool = False) -> list[Batch]:
    """Take a batch of one shard; return an empty list if there is none, or its locks are busy."""
    with suppress(ShardBusyError):
        batch = take(shard, using=using, untried_only=untried_only)
        return [batch] if batch is not None and batch.rows else []
    return []


def _nothing(shard: int) -> None:
    """Do nothing with a shard."""


def _rows(rendered: Iterable[tuple[int, Settled[None]]]) -> int:
    return sum(settled.rows for _, settled in rendered)


def _render(
    batches: Sequence[Batch], using: str, ends_process: bool, then: Then[T]
) -> Generator[tuple[int, Settled[T]], None, None]:
    if not batches:
        return
    try:
        with watched(batches, using=using, ends_process=ends_process):
            results = render([row for batch in batches for row in batch.rows], using=using)
    except ShardBusyError:  # no process died, so the rows are simply rendered later
        for batch in batches:
            release(batch, using=using)
        return
    by_row = {result.row.pk: result for result in results}
    left = list(batches)
    try:
        while left:
            batch = left.pop(0)
            if settled := _settle(batch, by_row, using, then):
                yield batch.shard, settled
    finally:
        for batch in left:
            _settle(batch, by_row, using, _nothing)


def _settle(
    batch: Batch, results: Mapping[int, Rendered], using: str, then: Then[T]
) -> Settled[T] | None:
    try:
        return settle(batch, [results[row.pk] for row in batch.rows], using=using, then=then)
    except ShardBusyError:
        release(batch, using=using)
        return None
