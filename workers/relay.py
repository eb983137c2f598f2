"""The relay: rows go from the outbox to the channel layer, numbered, in order."""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Self

from django.db import InterfaceError, OperationalError, close_old_connections

from apps.outbox.attempts import retry
from apps.outbox.claim import claim, held, release, settle, work
from apps.outbox.locks import publishing_lock
from apps.outbox.models import SHARDS
from apps.outbox.numbering import number
from apps.realtime.conf import realtime_settings
from apps.realtime.publish import Published, publish

from .breaker import Breaker

logger = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class Drained:
    """What one drain did, in rows; and whether it left some because its time was over."""

    numbered: int = 0
    published: int = 0
    retried: int = 0
    failed: int = 0
    is_cut_short: bool = False


class Relay:
    """
    Drains the outbox of one database.

    It keeps one event loop, and with it the channel layer's connections. Not for several threads.
    """

    def __init__(self, *, using: str) -> None:
        self.using = using
        self.breaker = Breaker("The channel layer")
        self._database = Breaker("The database")
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

    def try_to_drain(self, *, seconds: float = float("inf")) -> Drained:
        """Drain; a database that is away, or took the lock away, is a line in the log."""
        close_old_connections()
        try:
            drained = self.drain(seconds=seconds)
        except (OperationalError, InterfaceError) as error:
            self._database.fail(error)
            return Drained()
        self._database.succeed()
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
        Raises OperationalError or InterfaceError when the database is.
        """
        drained, end = Drained(), time.monotonic() + seconds
        if self.breaker.refuses:
            self._number_everything(drained)
            return drained
        while turns := work(using=self.using):
            found_free = False
            for shard, tried in turns:
                if time.monotonic() >= end:
                    drained.is_cut_short = True
                    return drained
                try:
                    found_free |= self._take_turn(shard, tried, drained)
                except ChannelLayerError as error:
                    self.breaker.fail(error.cause)
                    self._number_everything(drained)
                    return drained
            if not found_free:
                break
        return drained

    def _number_everything(self, drained: Drained) -> None:
        """Number what nobody can publish: sockets may read it from the database."""
        for shard in range(SHARDS):
            while rows := number(shard, using=self.using):
                drained.numbered += rows

    def _take_turn(self, shard: int, tried: bool, drained: Drained) -> bool:
        """Publish a batch of the shard; return whether it was free. Raises ChannelLayerError."""
        limit = 1 if self.breaker.is_open else None
        # Committed before anything is published: an offset never gets a second content.
        claimed = claim(shard, using=self.using, tried=tried, limit=limit)
        drained.numbered += claimed.numbered
        return claimed.is_free and (not claimed.rows or self.publish_held(shard, drained))

    def publish_held(self, shard: int, drained: Drained) -> bool:
        """Publish what is in hand of the shard, whoever claimed it; return whether the shard was free."""
        away: Exception | None = None
        with publishing_lock(shard, using=self.using) as mine:
            if mine:
                rows = held(shard, using=self.using, longest=realtime_settings().FRAME_BYTES)
                try:
                    # The one crossing from sync to async, once for the batch.
                    outcome = self._loop.run_until_complete(publish(rows))
                except Exception as error:  # noqa: BLE001  # of rows, `publish` returns the failures
                    away = error
                else:
                    self._settle(outcome, drained)
                release(shard, using=self.using)
        if away is not None:
            raise ChannelLayerError(away)
        return mine

    def _settle(self, outcome: Published, drained: Drained) -> None:
        if outcome.rows:
            self.breaker.succeed()
        drained.published += settle(outcome.rows, using=self.using)
        if outcome.failures:
            self._note_failures(outcome, drained)

    def _note_failures(self, outcome: Published, drained: Drained) -> None:
        errors = {row.pk: error for row, error in outcome.failures}
        failures = [(row.pk, row.attempts, error) for row, error in outcome.failures]
        for pk, attempts, is_failed in retry(failures, using=self.using):
            drained.failed += is_failed
            drained.retried += not is_failed
            extra = {"outbox_id": pk, "attempt": attempts, "error": repr(errors[pk])}
            if is_failed:
                logger.error(
                    "Row failed", exc_info=errors[pk], extra=extra | {"action": "row_failed"}
                )
            else:  # its traceback is kept in the row
                logger.warning("Publish failed", extra=extra | {"action": "publish_failed"})


class ChannelLayerError(Exception):
    """The channel layer is away, or does not answer in time."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause
