"""The relay: rows go from the outbox to the channel layer, numbered, in order."""

import asyncio
import logging
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from django.db import InterfaceError, InternalError, OperationalError, close_old_connections

from apps.outbox.attempts import retry
from apps.outbox.claim import Claimed, claim, is_still_held, load, release, settle, work
from apps.outbox.conf import outbox_settings
from apps.outbox.exceptions import ShardBusyError
from apps.outbox.locks import publishing_lock
from apps.outbox.models import SHARDS
from apps.outbox.numbering import number
from apps.outbox.redaction import without_secrets
from apps.outbox.renderer import render_batch
from apps.outbox.unrendered import shards_to_render
from apps.realtime.conf import realtime_settings
from apps.realtime.publish import Published, publish

from . import metrics
from .breaker import Breaker

logger = logging.getLogger(__name__)

#: What says that the database is away, is about to be, or has ended a transaction that took too long.
DATABASE_AWAY = (InterfaceError, InternalError, OperationalError)


@dataclass(kw_only=True, slots=True)
class Drained:
    """What one drain did, in rows; and whether it left some because its time was over."""

    numbered: int = 0
    published: int = 0
    retried: int = 0
    failed: int = 0
    is_cut_short: bool = False

    def add(self, other: Self) -> None:
        """Count what was done besides."""
        self.published += other.published
        self.retried += other.retried
        self.failed += other.failed


class Relay:
    """
    Drains the outbox of one database.

    It keeps one event loop, and with it the channel layer's connections. Not for several threads.
    """

    def __init__(self, *, using: str) -> None:
        self.using = using
        self.breaker = Breaker("The channel layer")
        self._database = Breaker("The database")
        #: When a drain ended last that the channel layer did not hinder.
        self.drained_at: datetime | None = None
        self._most = outbox_settings().BATCH_ROWS
        self._runner = asyncio.Runner()
        # The runner ends it well. Its own `run` spends time on Ctrl-C, which ends a drain anyway.
        self._loop = self._runner.get_loop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the channel layer."""
        self._runner.close()

    def facts(self) -> dict[str, Any]:
        """Return how it is, as JSON, to who reports it; from any thread."""
        drained_at = None if self.drained_at is None else self.drained_at.isoformat()
        return {"breaker": self.breaker.why, "drained_at": drained_at}

    def try_to_drain(self, *, seconds: float = float("inf")) -> Drained:
        """Drain; a database that is away, or took the lock away, is a line in the log."""
        close_old_connections()
        try:
            with metrics.DRAIN.time():
                drained = self.drain(seconds=seconds)
        except DATABASE_AWAY as error:
            self._database.fail(error)
            return Drained()
        self._database.succeed()
        if not self.breaker.is_open:
            self.drained_at = datetime.now(UTC)
        return drained

    def drain(self, *, seconds: float = float("inf")) -> Drained:
        """
        Number and publish until nothing is due, or the time is over; return what was done.

        No wake-up is lost, by construction. Whoever rings does so after its commit, and a drain clears the
        bell before it looks: what it doesn't see rings again. A drain that finds a shard taken may leave
        it, because whoever claimed or publishes it asks for work again after it has let go; and a drain
        ends only when there is no work, or none that it could take, or when it says that it is cut short.
        Whoever dies in between is made good by the sweep.

        Raises nothing when the channel layer is away: the rows stay due, and the sweep comes back.
        Raises one of DATABASE_AWAY when the database is.
        """
        drained, end = Drained(), time.monotonic() + seconds
        if self.breaker.refuses:
            self._render(end)
            self._number_everything(drained, end)
            return drained
        while turns := self._work(end):
            found_free = False
            for shard, tried in turns:
                if time.monotonic() >= end:
                    drained.is_cut_short = True
                    return drained
                try:
                    found_free |= self._take_turn(shard, tried, drained)
                except ChannelLayerError as error:
                    self.breaker.fail(error.cause)
                    self._most = 1
                    self._number_everything(drained, end)
                    return drained
            if not found_free:
                break
        return drained

    def _work(self, end: float) -> list[tuple[int, bool]]:
        """Render captured rows, and return the shards with something to publish or to number."""
        self._render(end)
        return work(using=self.using)

    def _render(self, end: float) -> None:
        """Render captured rows until none is left that can be rendered now, or the time is over."""
        for shard in shards_to_render(using=self.using):
            while time.monotonic() < end and render_batch(shard, using=self.using):
                pass

    def _number_everything(self, drained: Drained, end: float) -> None:
        """Number what nobody can publish: sockets may read it from the database."""
        for shard in range(SHARDS):
            rows = outbox_settings().BATCH_ROWS
            while rows == outbox_settings().BATCH_ROWS:
                if time.monotonic() >= end:
                    drained.is_cut_short = True
                    return
                rows = 0  # a busy shard is left until the next time
                with suppress(ShardBusyError):
                    rows = number(shard, using=self.using)
                drained.numbered += rows

    def _take_turn(self, shard: int, tried: bool, drained: Drained) -> bool:
        """Publish a batch of the shard; return whether it was free. Raises ChannelLayerError."""
        try:
            return self._claim_and_publish(shard, tried, drained)
        except ShardBusyError as error:
            logger.warning("%s", error, extra={"action": "shard_busy"})
            return False

    def _claim_and_publish(self, shard: int, tried: bool, drained: Drained) -> bool:
        # Committed before anything is published: an offset never gets a second content.
        claimed = claim(shard, using=self.using, tried=tried, limit=self._most)
        drained.numbered += claimed.numbered
        if claimed.left:
            self._note_death(claimed, drained)
        return claimed.is_free and (
            not claimed.rows or self.publish_held(shard, claimed.rows, drained)
        )

    def publish_held(self, shard: int, pks: list[int], drained: Drained) -> bool:
        """Publish claimed rows; return whether the shard was free, and the claim stood."""
        away: Exception | None = None
        done = Drained()
        rows = load(pks, using=self.using, longest=realtime_settings().FRAME_BYTES)
        with publishing_lock(shard, using=self.using) as is_free:
            # A worker that was stopped between its claim and the lock has been taken for dead.
            mine = is_free and is_still_held(shard, pks, using=self.using)
            if mine:
                try:
                    # The one crossing from sync to async, once for the batch.
                    outcome = self._loop.run_until_complete(publish(rows))
                except Exception as error:  # noqa: BLE001  # of rows, `publish` returns the failures
                    away = error
                else:
                    self._settle(outcome, done)
                release(shard, using=self.using)
        if away is not None:
            raise ChannelLayerError(away)
        if mine:
            # Only now: what was rolled back has not been done.
            drained.add(done)
            _count(outcome, done)
            _trace(outcome)
            self._adapt(claimed=len(pks), loaded=len(rows), outcome=outcome)
        return mine

    def _adapt(self, *, claimed: int, loaded: int, outcome: Published) -> None:
        """Claim fewer rows at once where they were too many; else more, up to ``BATCH_ROWS``."""
        self.breaker.succeed()
        if outcome.is_too_large:
            self._most = max(1, loaded // 4)
        elif loaded < claimed:
            self._most = loaded
        else:
            self._most = min(outbox_settings().BATCH_ROWS, self._most * 2)

    def _settle(self, outcome: Published, drained: Drained) -> None:
        drained.published += settle(outcome.rows, using=self.using)
        if outcome.failures:
            self._note_failures(outcome, drained)

    def _note_failures(self, outcome: Published, drained: Drained) -> None:
        """Record the failed attempts. Of each kind one is in the log; each row keeps its own, whole."""
        errors = {row.pk: (row, error) for row, error in outcome.failures}
        failures = [
            (row.pk, row.attempts, error, row.object_type, row.payload)
            for row, error in outcome.failures
        ]
        kinds: dict[tuple[bool, type[Exception]], list[int]] = defaultdict(list)
        for pk, _, is_failed in retry(failures, using=self.using):
            kinds[is_failed, type(errors[pk][1])].append(pk)
        for (is_failed, _), pks in kinds.items():
            row, error = errors[pks[0]]
            extra = {"outbox_id": row.pk, "rows": len(pks), "event_id": row.event_id}
            extra["error"] = without_secrets(repr(error), row.object_type, row.payload)
            if is_failed:
                drained.failed += len(pks)
                extra["action"] = "row_failed"
                logger.error("Row failed", extra=extra)
            else:
                drained.retried += len(pks)
                extra["action"] = "publish_failed"
                logger.warning("Publish failed", extra=extra)

    def _note_death(self, claimed: Claimed, drained: Drained) -> None:
        metrics.DEATHS.inc()
        metrics.FAILED.inc(len(claimed.failed))
        extra = {"action": "worker_died", "rows": claimed.left}
        logger.warning("A worker died, or was stopped, with rows in hand", extra=extra)
        for pk in claimed.failed:
            drained.failed += 1
            extra = {"action": "row_failed", "outbox_id": pk}
            logger.error("Row failed: it kills its worker", extra=extra)


def _count(outcome: Published, done: Drained) -> None:
    metrics.PUBLISHED.inc(done.published)
    metrics.RETRIED.inc(done.retried)
    metrics.FAILED.inc(done.failed)
    metrics.DELAY.observe_rows(row.created_at for row in outcome.rows)


def _trace(outcome: Published) -> None:
    """Say of each row that it was published, to who wants to know; a thousand lines a second."""
    if logger.isEnabledFor(logging.DEBUG):
        for row in outcome.rows:
            extra = {"action": "published", "event_id": row.event_id, "stream": row.stream}
            logger.debug("Published", extra={**extra, "offset": row.offset, "outbox_id": row.pk})


class ChannelLayerError(Exception):
    """The channel layer is away, or does not answer in time."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause
