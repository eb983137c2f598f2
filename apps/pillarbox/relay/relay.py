"""The relay: it renders and numbers rows of the outbox, and has them published in order."""

import random
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

from ..conf import pillarbox_settings
from ..database import AWAY_OR_ENDED, close_stale_connections
from ..exceptions import ShardBusyError
from ..logs import get_logger
from ..metrics import relay as metrics
from ..metrics.rows import FAILED
from ..models import SHARDS
from ..stream.numbering import number
from ..stream.rendering.batches.due_shards import shards_to_render
from ..stream.rendering.batches.settling import Settled
from ..stream.rendering.renderer import Then, render_batches
from .breaker import LoggedBreaker
from .claim import Claimed, claim, claim_numbered
from .drained import Drained
from .publisher import ChannelLayerError, Publisher
from .shards_with_work import shards_with_work

T = TypeVar("T")

logger = get_logger(__name__)


class Relay:
    """
    A relay that drains the outbox of one database.

    It keeps its connections to the channel layer. It isn't thread-safe. With ``ends_process`` it ends the
    process if a serializer hangs, since nothing else frees the worker.
    """

    def __init__(self, *, using: str, ends_process: bool = False) -> None:
        self.using, self._ends_process = using, ends_process
        self.publisher = Publisher(using=using)
        self.breaker = LoggedBreaker("The channel layer")
        self._database = LoggedBreaker("The database")
        #: When the last drain ended during which the channel layer was available.
        self.drained_at: datetime | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the channel layer."""
        self.publisher.close()

    def facts(self) -> dict[str, Any]:
        """Return the facts that the process reports, as JSON; from any thread."""
        drained_at = None if self.drained_at is None else self.drained_at.isoformat()
        return {"breaker": self.breaker.why, "drained_at": drained_at}

    def try_to_drain(self, *, seconds: float = float("inf")) -> Drained:
        """Drain. If the database is away, or takes the lock away, log it and return nothing drained."""
        close_stale_connections(using=self.using)
        try:
            with metrics.DRAIN.time():
                drained = self.drain(seconds=seconds)
        except AWAY_OR_ENDED as error:
            self._database.fail(error)
            return Drained()
        self._database.succeed()
        if not self.breaker.is_open:
            self.drained_at = datetime.now(UTC)
        return drained

    def drain(self, *, seconds: float = float("inf")) -> Drained:
        """
        Number and publish until nothing is due, or the time is over; return the counts.

        No wake-up is lost, by construction. Wake-ups are requested after the commit, and a drain clears the
        request before it reads the outbox: a commit that it doesn't see requests another. A drain may skip a
        shard that another process claimed or publishes, because that process looks for work again after it
        has released the shard. A drain ends only if there is no work, or none that it could take, or if it
        reports that it was cut short. If a process dies in between, the sweep makes up for it.

        Raises nothing if the channel layer is away: the rows stay due, and the next sweep tries again.
        Raises one of AWAY_OR_ENDED if the database is away.
        """
        drained, end = Drained(), time.monotonic() + seconds
        if self.breaker.refuses:
            self._number_everything(drained, end)
            return drained
        try:
            while self._take_turns(drained, end):
                pass
        except ChannelLayerError as error:
            self.breaker.fail(error.cause)
            self._number_everything(drained, end)
        return drained

    def _take_turns(self, drained: Drained, end: float) -> bool:
        """
        Render, number and publish a batch of each shard; return whether there may be more, and time is left.

        A shard's rows are published as soon as they are rendered. So some rows arrive, however short the time
        is, and however many rows are captured meanwhile. Raises ChannelLayerError.
        """
        captured, found_some = set(shards_to_render(using=self.using)), False
        turns = _in_turn(captured, shards_with_work(using=self.using))
        done: set[int] = set()
        for place, (shard, tried) in enumerate(turns):
            if time.monotonic() >= end:
                drained.is_cut_short = True
                return False
            if shard in captured - done and not tried:
                following = [one for one, _ in turns[place:] if one in captured - done]
                done |= self._render_and_publish(list(dict.fromkeys(following)), drained)
            if tried or shard not in done:
                with _left_for_later():
                    found_some |= self._claim_and_publish(shard, tried, drained)
        return found_some or bool(done)

    def _render_and_publish(self, shards: Sequence[int], drained: Drained) -> set[int]:
        """Render and publish batches of some of the shards; return which shards. Raises ChannelLayerError."""
        done = set()
        with closing(self._rendered(shards, self._claim_numbered)) as rendered:
            for shard, settled in rendered:
                done.add(shard)
                drained.add_settled(settled)
                with _left_for_later():
                    self._publish_claim(shard, settled.outcome, drained)
        return done

    def _rendered(
        self, shards: Sequence[int], then: Then[T]
    ) -> Generator[tuple[int, Settled[T]], None, None]:
        return render_batches(shards, using=self.using, ends_process=self._ends_process, then=then)

    def _claim_numbered(self, shard: int) -> Claimed:
        return claim_numbered(shard, using=self.using, limit=self.publisher.batch_rows)

    def _number_everything(self, drained: Drained, end: float) -> None:
        """Render and number rows that can't be published, so that sockets can read them from the database."""
        captured = set(shards_to_render(using=self.using))
        for shard in random.sample(range(SHARDS), SHARDS):
            has_more = True
            while has_more:
                if time.monotonic() >= end:
                    drained.is_cut_short = True
                    return
                has_more = shard in captured and self._render_only(shard, drained)
                with _left_for_later():
                    rows = number(shard, using=self.using)
                    drained.numbered += rows
                    has_more |= rows == pillarbox_settings().BATCH_ROWS

    def _render_only(self, shard: int, drained: Drained) -> bool:
        """Render and number a batch of the shard; return whether there was one."""
        found = [settled for _, settled in self._rendered([shard], lambda _: None)]
        for settled in found:
            drained.add_settled(settled)
        return bool(found)

    def _claim_and_publish(self, shard: int, tried: bool, drained: Drained) -> bool:
        """Claim and publish a batch; return whether anything was done. Raises ChannelLayerError."""
        # Committed before anything is published, so that an offset never gets different content.
        claimed = claim(shard, using=self.using, tried=tried, limit=self.publisher.batch_rows)
        drained.numbered += claimed.numbered
        return self._publish_claim(shard, claimed, drained)

    def _publish_claim(self, shard: int, claimed: Claimed, drained: Drained) -> bool:
        if claimed.left:
            self._note_death(claimed, drained)
        if not claimed.is_free or not claimed.rows:
            # Rows behind an unrendered row of their stream can't be published yet.
            return claimed.is_free and bool(claimed.numbered or claimed.left)
        drained.add(self.publisher.publish(shard, claimed.rows))
        self.breaker.succeed()
        return True

    def _note_death(self, claimed: Claimed, drained: Drained) -> None:
        metrics.DEATHS.inc()
        FAILED.inc(len(claimed.failed))
        extra = {"action": "worker_died", "rows": claimed.left}
        logger.warning("A worker died, or was stopped, and left claimed rows", extra=extra)
        for pk in claimed.failed:
            drained.failed += 1
            extra = {"action": "row_failed", "outbox_id": pk}
            logger.error("Row failed: it kills its worker", extra=extra)


@contextmanager
def _left_for_later() -> Iterator[None]:
    """Leave a shard to the next drain if its lock isn't free, or was lost; log it."""
    try:
        yield
    except ShardBusyError as error:
        logger.warning("%s", error, extra={"action": "shard_busy"})


def _in_turn(captured: Iterable[int], known: Sequence[tuple[int, bool]]) -> list[tuple[int, bool]]:
    """Return the shards with work in their order, as `work` does, including those with rows to render."""
    untried = [*{*captured, *(shard for shard, tried in known if not tried)}]
    random.shuffle(untried)
    return [(shard, False) for shard in untried] + [one for one in known if one[1]]
