"""One batch of rows without payload: taken, rendered, settled."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from django.db import connections

from .conf import outbox_settings
from .rendering import render
from .unrendered import Batch, settle, stay, take

#: How often a process says that it is still rendering. Several times while it would not be taken for dead.
STAY_SECONDS = 0.5


def render_batch(shard: int, *, using: str) -> int:
    """
    Render the shard's next batch; return how many rows were settled.

    It is 0 if there is no such row, if another process is at it, or if it has taken the batch meanwhile.
    Raises what `render` raises: the batch is then left, as by a process that died.
    """
    batch = take(shard, using=using)
    if batch is None or not batch.rows:
        return 0
    with _staying(batch, using):
        results = render(batch.rows, using=using)
    return len(results) if settle(batch, results, using=using) else 0


@contextmanager
def _staying(batch: Batch, using: str) -> Iterator[None]:
    """
    Say while the block runs, and for ``RENDER_SECONDS`` at most, that the batch is being rendered.

    The project's code may take its time. What hangs is not stayed with: other processes go on without it.
    """
    is_over = Event()
    times = range(int(outbox_settings().RENDER_SECONDS / STAY_SECONDS))

    def stay_with_it() -> None:
        try:
            for _ in times:
                if is_over.wait(STAY_SECONDS) or not stay(batch, using=using):
                    return
        finally:
            connections.close_all()

    thread = Thread(target=stay_with_it, name="rendering", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
