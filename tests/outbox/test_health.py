"""Is it well? The word and the sentences, for everything that may be so."""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apps.outbox.backlog import Backlog
from apps.outbox.health import LONG_SECONDS, SILENT_SECONDS, State, judge, span
from apps.outbox.minutes import Rates
from apps.outbox.running import Running

EMPTY = Backlog(
    pending=0,
    unnumbered=0,
    retrying=0,
    is_more=False,
    oldest_seconds=None,
    lag_seconds=None,
    failed=0,
    unreplayed=0,
    failed_lately=0,
)
LATE = replace(EMPTY, pending=312, oldest_seconds=38.4, lag_seconds=38.0)
BUSY = replace(EMPTY, pending=1, oldest_seconds=0.2, lag_seconds=0.2)
STILL, FLOWING = Rates(captured=0, published=0), Rates(captured=50, published=40)
WELL = Running(workers=2, beats=1, daphnes=1)
HUNG = replace(WELL, drained_seconds=40.0)
REFUSED = "Connection refused"
DOCTOR = "See `manage.py outbox doctor`."
MEANWHILE = "Sockets are served from the database meanwhile."

#: What is so, and the word and the sentences for it.
CASES = {
    "idle": (EMPTY, STILL, WELL, State.OK, ["Nothing waits."]),
    "busy": (BUSY, FLOWING, WELL, State.OK, ["1 notification on the way."]),
    "old failed rows": (
        replace(EMPTY, failed=9, unreplayed=7),
        STILL,
        WELL,
        State.OK,
        [
            "Nothing waits.",
            "7 notifications failed more than a day ago, and nobody has replayed them.",
        ],
    ),
    "new failed rows": (
        replace(EMPTY, failed=9, unreplayed=7, failed_lately=1),
        STILL,
        WELL,
        State.DEGRADED,
        [
            "1 notification failed in the last 24 hours, and nobody has replayed them. "
            "See their causes below, mend them, and replay."
        ],
    ),
    "a poison row": (
        replace(EMPTY, pending=3, retrying=1, oldest_seconds=200.0),
        FLOWING,
        WELL,
        State.DEGRADED,
        [
            "1 notification could not be published, and will be tried again; what is behind "
            "in the same streams waits. See the errors: Tried again later, below."
        ],
    ),
    "behind": (
        LATE,
        FLOWING,
        WELL,
        State.DEGRADED,
        [
            "312 notifications wait, the oldest for 38 s: workers publish 40 a second, and 50 come. "
            "If it doesn't go down, start more workers."
        ],
    ),
    "a poison row, and no worker": (
        replace(LATE, retrying=1, oldest_seconds=900.0),
        STILL,
        replace(WELL, workers=0),
        State.STALLED,
        [
            "312 notifications wait, the oldest for 38 s; no worker runs. Start the worker process. "
            f"{MEANWHILE} {DOCTOR}",
            "1 notification could not be published, and will be tried again; what is behind "
            "in the same streams waits. See the errors: Tried again later, below.",
        ],
    ),
    "a lock": (
        replace(LATE, pending=1_600_000, is_more=True),
        STILL,
        WELL,
        State.STALLED,
        [
            "1\u00a0600\u00a0000 or more notifications wait, the oldest for 38 s; workers drain, but "
            f"publish nothing: perhaps somebody holds a lock. {MEANWHILE} {DOCTOR}"
        ],
    ),
    "no worker, nothing waits": (
        EMPTY,
        STILL,
        replace(WELL, workers=0),
        State.DEGRADED,
        [f"No worker runs: what is committed will wait. Start the worker process. {DOCTOR}"],
    ),
    "no worker": (
        LATE,
        STILL,
        replace(WELL, workers=0),
        State.STALLED,
        [
            "312 notifications wait, the oldest for 38 s; no worker runs. Start the worker process. "
            f"{MEANWHILE} {DOCTOR}"
        ],
    ),
    "no worker, though something was published a moment ago": (
        LATE,
        FLOWING,
        replace(WELL, workers=0, daphnes=0),
        State.STALLED,
        [
            "312 notifications wait, the oldest for 38 s; no worker runs. Start the worker process. "
            f"{DOCTOR}",
            "No Daphne runs: there are no sockets. Start the daphne process.",
        ],
    ),
    "workers hang": (
        LATE,
        FLOWING,
        HUNG,
        State.STALLED,
        [
            "312 notifications wait, the oldest for 38 s; no worker has drained for 40 s. "
            f"Restart the worker process. {MEANWHILE} {DOCTOR}"
        ],
    ),
    "workers begin to hang": (
        LATE,
        STILL,
        replace(WELL, drained_seconds=12.0),
        State.STALLED,
        [
            "312 notifications wait, the oldest for 38 s; no worker has drained for 12 s. "
            f"Restart the worker process. {MEANWHILE} {DOCTOR}"
        ],
    ),
    "workers hang, nothing waits": (
        EMPTY,
        STILL,
        HUNG,
        State.DEGRADED,
        [
            "No worker has drained for 40 s, though beat asks them to. Restart the worker process. "
            f"{DOCTOR}"
        ],
    ),
    "the layer is away": (
        LATE,
        STILL,
        replace(HUNG, breaker=REFUSED, deaf=1),
        State.DEGRADED,
        [
            f"The channel layer is away ({REFUSED}). 312 notifications wait, the oldest for 38 s. "
            f"{MEANWHILE} Start Redis, or mend the way to it."
        ],
    ),
    "the layer is away, nothing waits": (
        EMPTY,
        STILL,
        replace(WELL, deaf=1),
        State.DEGRADED,
        [
            f"The channel layer is away. {MEANWHILE} Start Redis, or mend the way to it.",
        ],
    ),
    "one worker did not look again": (
        BUSY,
        FLOWING,
        replace(WELL, breaker=REFUSED),
        State.OK,
        ["1 notification on the way."],
    ),
    "all of Redis is away": (
        LATE,
        STILL,
        replace(HUNG, breaker=REFUSED, deaf=1, broker=REFUSED),
        State.DEGRADED,
        [
            f"The channel layer is away ({REFUSED}). 312 notifications wait, the oldest for 38 s. "
            f"{MEANWHILE} Start Redis, or mend the way to it.",
            f"The broker is away ({REFUSED}): nobody asks workers to drain. "
            "Start it, or mend the way to it.",
        ],
    ),
    "the broker is away": (
        LATE,
        STILL,
        replace(HUNG, broker=REFUSED, swept_seconds=40.0),
        State.DEGRADED,
        [
            f"The broker is away ({REFUSED}): nobody asks workers to drain. 312 notifications wait, the "
            f"oldest for 38 s. {MEANWHILE} Start it, or mend the way to it."
        ],
    ),
    "the broker is away, and no Daphne is there": (
        LATE,
        STILL,
        replace(HUNG, broker=REFUSED, daphnes=0),
        State.STALLED,
        [
            "312 notifications wait, the oldest for 38 s; no Daphne serves them from the database. "
            "Start the daphne process.",
            f"The broker is away ({REFUSED}): nobody asks workers to drain. 312 notifications wait, the "
            "oldest for 38 s. Start it, or mend the way to it.",
            "No Daphne runs: there are no sockets. Start the daphne process.",
        ],
    ),
    "no beat": (
        EMPTY,
        STILL,
        replace(HUNG, beats=0),
        State.DEGRADED,
        [
            "No beat runs: whatever loses its wake-up waits for the next change. "
            "Start the beat process."
        ],
    ),
    "beat hangs": (
        EMPTY,
        STILL,
        replace(HUNG, swept_seconds=40.0),
        State.DEGRADED,
        ["Beat has not swept for 40 s. Restart the beat process."],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_condition_has_its_word_and_its_sentences(case):
    """
    The sentences say what is so, how much of it, and what to do.
    """
    backlog, rates, running, state, reasons = CASES[case]
    verdict = judge(backlog, rates, running)
    assert (state, reasons) == (verdict.state, list(verdict.reasons))


@given(
    st.builds(
        replace,
        st.just(EMPTY),
        pending=st.integers(1, 10),
        retrying=st.integers(0, 2),
        failed_lately=st.integers(0, 2),
        oldest_seconds=st.floats(0, 1e6),
        lag_seconds=st.none() | st.sampled_from([0.0, LONG_SECONDS, LONG_SECONDS + 1]),
    ),
    st.sampled_from([STILL, FLOWING]),
    st.builds(
        Running,
        workers=st.integers(0, 2),
        drained_seconds=st.sampled_from([0.0, SILENT_SECONDS, SILENT_SECONDS + 1]),
        breaker=st.none() | st.just(REFUSED),
        beats=st.integers(0, 1),
        swept_seconds=st.sampled_from([0.0, SILENT_SECONDS + 1]),
        broker=st.none() | st.just(REFUSED),
        daphnes=st.integers(0, 1),
        deaf=st.integers(0, 1),
    ),
)
@example(BUSY, FLOWING, WELL)
@example(LATE, STILL, replace(WELL, workers=0))
def test_laws(backlog, rates, running):
    """
    There is always a reason; nothing stalls that isn't late; a site on which everything runs and flows
    doesn't stall; and without workers what is late does.
    """
    verdict = judge(backlog, rates, running)
    is_late = backlog.lag_seconds is not None and backlog.lag_seconds > LONG_SECONDS
    assert verdict.reasons
    assert all(reason.endswith(".") for reason in verdict.reasons)
    assert len(verdict.reasons) == len(set(verdict.reasons))
    if verdict.state == State.STALLED:
        assert is_late
    if is_late:
        assert verdict.state != State.OK
        if not running.workers:
            assert verdict.state == State.STALLED
    if verdict.state == State.OK:
        assert running.workers
        assert running.beats
        assert running.daphnes
        assert not any([running.broker, running.deaf, backlog.retrying, backlog.failed_lately])


@pytest.mark.parametrize(
    ("expected", "seconds"),
    [
        ("0 s", 0.4),
        ("119 s", 119),
        ("2 min", 120),
        ("2 h", 7200),
        ("47 h", 170_000),
        ("3 d", 260_000),
    ],
)
def test_spans(expected, seconds):
    """
    A time is said in the unit in which people think of it.
    """
    assert expected == span(seconds)
