"""Publishing: hands claimed rows to the channel layer, and settles them."""

import asyncio
import logging
from collections.abc import Iterable

from ..conf import pillarbox_settings
from ..exceptions import ClaimLostError
from ..layer.publish import Published, publish
from ..logs import get_logger
from ..metrics import relay as metrics
from ..metrics.rows import FAILED, RETRIED
from ..stream.attempts import FailedAttempt, Recorded, record_and_log
from ..stream.locks import publishing_lock
from ..stream.rows import Row
from .claimed_rows import is_still_claimed, load, release, settle
from .drained import Drained

logger = get_logger(__name__)


class ChannelLayerError(Exception):
    """The channel layer is away, or does not answer in time."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause


class Publisher:
    """
    A publisher of one database's rows. It isn't thread-safe.

    It keeps one event loop, and with it the connections to the channel layer.
    """

    def __init__(self, *, using: str) -> None:
        self.using = using
        #: The most rows that may be claimed next. It shrinks while the channel layer refuses batches.
        self.batch_rows = pillarbox_settings().BATCH_ROWS
        self._runner = asyncio.Runner()
        # The runner closes the loop. `Runner.run` spends time on handling Ctrl-C, which ends a drain anyway.
        self._loop = self._runner.get_loop()

    def close(self) -> None:
        """Close the connections to the channel layer."""
        self._runner.close()

    def publish(self, shard: int, pks: list[int]) -> Drained:
        """
        Publish claimed rows; return the counts.

        Raises ChannelLayerError, and ShardBusyError and LockLostError like `publishing_lock`. The rows stay
        claimed after such an error, and are published again later, at the same offsets. Raises ClaimLostError
        if another process publishes the shard or has claimed its rows.
        """
        away: Exception | None = None
        drained = Drained()
        rows = load(pks, using=self.using, longest=pillarbox_settings().FRAME_BYTES)
        with publishing_lock(shard, using=self.using) as is_free:
            # A worker that was stopped between its claim and the lock may have lost the claim.
            if not is_free or not is_still_claimed(shard, pks, using=self.using):
                raise ClaimLostError(shard)
            try:
                # The only crossing from sync to async, once per batch.
                outcome = self._loop.run_until_complete(publish(rows))
            except Exception as error:  # noqa: BLE001  # `publish` returns failures of single rows
                away = error
            else:
                self._settle(outcome, drained)
            release(shard, using=self.using)
        if away is not None:
            self.batch_rows = 1
            raise ChannelLayerError(away)
        # Only after the commit: a rollback would undo these counts.
        _count(outcome, drained)
        _trace(outcome)
        self._adapt(claimed=len(pks), loaded=len(rows), is_too_large=outcome.is_too_large)
        return drained

    def _settle(self, outcome: Published, drained: Drained) -> None:
        drained.published += settle(outcome.rows, using=self.using)
        if outcome.failures:
            drained.add_failures(_record(outcome.failures, self.using))

    def _adapt(self, *, claimed: int, loaded: int, is_too_large: bool) -> None:
        """Shrink the batches if this one was too large; otherwise grow them, up to ``BATCH_ROWS``."""
        if is_too_large:
            self.batch_rows = max(1, loaded // 4)
        elif loaded < claimed:
            self.batch_rows = loaded
        else:
            self.batch_rows = min(pillarbox_settings().BATCH_ROWS, self.batch_rows * 2)


def _record(failures: Iterable[tuple[Row, Exception]], using: str) -> Recorded:
    """Record and log the failed attempts to publish rows."""
    described = [
        FailedAttempt(
            row.pk,
            row.attempts,
            error,
            row.object_type,
            row.payload,
            event_id=row.event_id,
        )
        for row, error in failures
    ]
    return record_and_log(described, using=using, message="Publish failed", action="publish_failed")


def _count(outcome: Published, done: Drained) -> None:
    metrics.PUBLISHED.inc(done.published - sum(row.is_skipped for row in outcome.rows))
    RETRIED.inc(done.retried)
    FAILED.inc(done.failed)
    metrics.DELAY.observe_rows(row.created_at for row in outcome.rows)


def _trace(outcome: Published) -> None:
    """Log each published row at DEBUG, which may be a thousand lines a second."""
    if logger.isEnabledFor(logging.DEBUG):
        for row in outcome.rows:
            extra = {"action": "published", "event_id": row.event_id, "stream": row.stream}
            logger.debug("Published", extra={**extra, "offset": row.offset, "outbox_id": row.pk})
