"""The sizes of batches of tried rows: they shrink with each worker that died with them."""

from collections.abc import Iterable

from ..conf import pillarbox_settings

#: A row is claimed alone after this many workers died with it.
DEADLY = 4
#: This many workers may die with a row, for instance in deploys, before a worker that dies with it alone
#: counts as a failed attempt.
FORGIVEN_DEATHS = 10


def batch_of(candidates: Iterable[tuple[int, int, int]]) -> list[int]:
    """Return the first candidates (primary key, bytes, deaths) that fit into one batch; at least one."""
    conf = pillarbox_settings()
    batch: list[int] = []
    total = 0
    for pk, size, deaths in candidates:
        total += size
        most = 1 if deaths >= DEADLY else conf.BATCH_ROWS >> 2 * deaths
        if batch and (total > conf.BATCH_BYTES or len(batch) >= most):
            break
        batch.append(pk)
    return batch
