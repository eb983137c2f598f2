"""The relay: rows go from the outbox to the channel layer, numbered, in order."""

import asyncio
import logging
from dataclasses import asdict, dataclass
from typing import Self

from apps.outbox import claim
from apps.outbox.locks import publishing_lock
from apps.outbox.models import NotificationOutbox, Stream
from apps.outbox.numbering import number
from apps.realtime.publish import Published, publish

logger = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class Drained:
    """What one drain did, in rows."""

    numbered: int = 0
    published: int = 0
    retried: int = 0
    failed: int = 0

    @property
    def rows(self) -> int:
        """Rows that were brought further."""
        return self.numbered + self.published + self.retried + self.failed


class Relay:
    """
    Drains the outbox of one database.

    It keeps one event loop, and with it the channel layer's connections. Not for several threads.
    """

    def __init__(self, *, using: str) -> None:
        self.using = using
        self._runner = asyncio.Runner()
        self._layer_is_away = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the channel layer."""
        self._runner.close()

    def drain(self) -> Drained:
        """
        Number and publish until nothing is due; return what was done.

        No wake-up is lost. Whoever rings does so after its commit; a drain that finds a shard taken
        may leave it to its holder, because the holder asks again after it has let go, and leaves
        only if there is nothing to do, or nothing that it could take.
        Raises nothing when the channel layer is away: the rows stay due, and the sweep comes back.
        """
        drained = Drained()
        while shards := claim.shards_with_work(using=self.using):
            try:
                taken = [self._drain_shard(shard, drained) for shard in shards]
            except ChannelLayerError as error:
                self._note_outage(error)
                drained.numbered += self._number_only(shards)
                break
            self._layer_is_away = False
            if not any(taken):
                break
        if drained.rows:
            logger.info("Drained", extra={"action": "drained", **asdict(drained)})
        return drained

    def _note_outage(self, error: Exception) -> None:
        if not self._layer_is_away:
            extra = {"action": "layer_away"}
            logger.warning("The channel layer is away: %s", error.__cause__, extra=extra)
        self._layer_is_away = True

    def _number_only(self, shards: list[int]) -> int:
        """Number what nobody can publish: sockets may read it from the database."""
        return sum(number(shard, using=self.using, claiming=False) for shard in shards)

    def _drain_shard(self, shard: int, drained: Drained) -> bool:
        """Number and publish a batch; return whether the shard was free."""
        # Committed before anything is published: an offset never gets a second content.
        drained.numbered += number(shard, using=self.using, claiming=True)
        lost = None
        with publishing_lock(shard, using=self.using) as mine:
            if mine and (rows := claim.due(shard, using=self.using)):
                epochs = self._epochs(rows)
                try:
                    # The one crossing from sync to async, once for the batch.
                    outcome = self._runner.run(publish(rows, epochs))
                except Exception as error:  # noqa: BLE001  # of rows, `publish` returns the failures
                    claim.give_back(rows, using=self.using)
                    lost = error
                else:
                    self._settle(outcome, drained)
        if lost is not None:
            raise ChannelLayerError from lost
        return mine

    def _epochs(self, rows: list[NotificationOutbox]) -> dict[str, str]:
        names = {row.stream for row in rows}
        streams = Stream.objects.using(self.using).with_epoch().in_bulk(names)
        return {name: stream.epoch for name, stream in streams.items()}

    def _settle(self, outcome: Published, drained: Drained) -> None:
        drained.published += claim.settle(outcome.rows, using=self.using)
        for row, error in outcome.failures:
            if claim.retry(row, error, using=self.using):
                drained.retried += 1
                level, sentence, action = logging.WARNING, "Publish failed", "publish_failed"
            else:
                drained.failed += 1
                level, sentence, action = logging.ERROR, "Row failed", "row_failed"
            extra = {"action": action, "outbox_id": row.pk, "attempt": row.attempts}
            logger.log(level, sentence, exc_info=error, extra=extra)


class ChannelLayerError(Exception):
    """The channel layer is away, or does not answer in time. The cause says more."""
