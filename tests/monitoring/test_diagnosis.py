"""The diagnosis: state and sentences for every condition."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pillarbox.monitoring.backlog import Backlog, Unknown
from pillarbox.monitoring.diagnosis import diagnose
from pillarbox.monitoring.doctor.diagnosed import SOUND
from pillarbox.monitoring.facts import Facts
from pillarbox.monitoring.minute_counts import Rates
from pillarbox.monitoring.problems import State
from pillarbox.monitoring.process_summary import ProcessSummary
from pillarbox.monitoring.processes import ProcessReport
from pillarbox.monitoring.thresholds import LATE_SECONDS, SILENT_SECONDS

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
WELL = ProcessSummary(workers=2, beats=1, daphnes=1)
HUNG = replace(WELL, drained_seconds=40.0)
REFUSED = "Connection refused"
BREAKER, BROKER = {"worker@a:1": REFUSED}, {"beat@a:1": REFUSED}
WITHOUT_LAYER = ("daphne@a:1",)
WAITS = "Committed rows wait in the outbox."
ENDED = "If it was running, its log says how it ended."
RUN = "Start `manage.py pillarbox run`"
NO_WORKER = f"No worker runs. {WAITS} {RUN}, or a Celery worker. {ENDED}"
NO_DAPHNE = (
    "No Daphne runs. No client can connect, unless `runserver` or another server serves sockets."
    " Start `python -m pillarbox.server pillarbox.asgi:application`,"
    f" or with your own application. {ENDED}"
)
RESTART_WORKERS = (
    "Make sure that beat and the workers share a CELERY_BROKER_URL. If so, restart the workers."
)
UNSWEPT = "Rows whose wake-up was lost wait, and so do retries. Nothing is pruned."
NO_BEAT = f"No beat runs. {UNSWEPT} {RUN}, or Celery's beat. {ENDED}"
LAG = "312 notifications wait, the oldest for 38 s."
MEANWHILE = "Sockets are served from the database meanwhile."
ONCE = "They are published once the other problems are solved."
RECONNECT = "Start Redis, or repair the connection to it: the host's network and its REDIS_URL."
NO_LAYER = (
    f"worker@a:1 can't reach the channel layer ({REFUSED}). Rows wait in the outbox; no attempt is counted,"
    f" and nothing is lost. {RECONNECT}"
)
NO_MESSAGES = (
    "daphne@a:1 can't reach the channel layer. Sockets read notifications from the database, up to"
    f" POSITION_CHECK_SECONDS late. {RECONNECT}"
)
NO_BROKER = (
    f"beat@a:1 can't reach the broker ({REFUSED}). Workers aren't woken: rows wait in the outbox, and nothing"
    " is lost. Nothing is pruned. Start the broker, or repair the connection to it: the network and"
    " CELERY_BROKER_URL."
)
RETRIED = (
    "1 notification could not be rendered or published, and will be retried. Later rows of the same streams"
    ' wait. See their errors in the admin, under Notifications: "To be retried".'
)
REPLAY = (
    "Subscribers did not receive them, only that they were skipped. See their causes in the admin, under"
    " Notifications. Mend these, then replay the rows there, or by `manage.py pillarbox replay`."
)
REMOVED = (
    "the type is not registered here. Only a process that knows the type can render them, and no process"
    " deletes them. Deploy the code that registers it. If it was removed for good, run"
    " `manage.py pillarbox prune --object-type gone`."
)
QUIET = "No notification waits."


def of(backlog, rates, processes, *reports):
    return Facts(backlog=backlog, rates=rates, processes=processes, reports=reports)


def silent(kind, name, seconds):
    return ProcessReport(
        name=f"{kind}@{name}",
        kind=kind,
        started_at=datetime.now(UTC),
        silent_seconds=seconds,
        facts={},
    )


#: Each condition, with the state and the sentences for it.
CASES = {
    "idle": (of(EMPTY, STILL, WELL), State.OK, [QUIET]),
    "busy": (of(BUSY, FLOWING, WELL), State.OK, ["1 notification on the way."]),
    "old failed rows": (
        of(replace(EMPTY, failed=9, unreplayed=7), STILL, WELL),
        State.OK,
        [QUIET, f"7 notifications failed more than a day ago, not replayed yet. {REPLAY}"],
    ),
    "new failed rows": (
        of(replace(EMPTY, failed=9, unreplayed=1, failed_lately=1), STILL, WELL),
        State.DEGRADED,
        [f"1 notification failed in the last 24 hours, not replayed yet. {REPLAY}"],
    ),
    "old and new failed rows": (
        of(replace(EMPTY, failed=9, unreplayed=7, failed_lately=1), STILL, WELL),
        State.DEGRADED,
        [f"1 notification failed in the last 24 hours, and 6 earlier, not replayed yet. {REPLAY}"],
    ),
    "a poison row": (
        of(replace(EMPTY, pending=3, retrying=1, oldest_seconds=200.0), FLOWING, WELL),
        State.DEGRADED,
        [RETRIED],
    ),
    "behind": (
        of(LATE, FLOWING, WELL),
        State.DEGRADED,
        [
            f"{LAG} Workers publish 40 a second, and 50 are captured. If the backlog doesn't shrink, start "
            "more workers."
        ],
    ),
    "a poison row, and no worker": (
        of(replace(LATE, retrying=1, oldest_seconds=900.0), STILL, replace(WELL, workers=0)),
        State.STALLED,
        [f"{LAG} {MEANWHILE} {ONCE}", NO_WORKER, RETRIED],
    ),
    "a lock": (
        of(replace(LATE, pending=1_600_000, is_more=True), STILL, WELL),
        State.STALLED,
        [
            "1\u00a0600\u00a0000 or more notifications wait, the oldest for 38 s. Workers drain, but "
            f"publish nothing: perhaps a transaction holds a lock. {MEANWHILE} "
            "Run `manage.py pillarbox doctor`: it names old transactions."
        ],
    ),
    "a lock, and no Daphne": (
        of(LATE, STILL, replace(WELL, daphnes=0)),
        State.STALLED,
        [
            f"{LAG} Workers drain, but publish nothing: perhaps a transaction holds a lock. No Daphne serves "
            "them from the database. Run `manage.py pillarbox doctor`: it names old transactions.",
            NO_DAPHNE,
        ],
    ),
    "no worker, nothing waits": (
        of(EMPTY, STILL, replace(WELL, workers=0)),
        State.DEGRADED,
        [NO_WORKER],
    ),
    "the only worker was killed": (
        of(
            EMPTY,
            STILL,
            replace(WELL, workers=0),
            silent("worker", "a:1", 300.0),
            silent("worker", "a:2", 240.0),
            silent("worker", "a:3", 260.0),
        ),
        State.DEGRADED,
        [NO_WORKER.replace("runs.", "runs; the last one reported 4 min ago.")],
    ),
    "some workers were killed": (
        of(
            EMPTY,
            STILL,
            WELL,
            *(silent("worker", f"a:{number}", 240.0) for number in range(1, 6)),
            silent("worker", "b:1", 1.0),
        ),
        State.OK,
        [
            QUIET,
            "Reported in the last hour, but no longer: worker@a:1 (4 min ago), worker@a:2 (4 min ago), "
            "worker@a:3 (4 min ago) and 2 more. A process that was killed, hangs or can't reach the"
            " database. Other processes do its work. Look at its log and its host; the kernel kills processes"
            " that take too much memory. If it was stopped on purpose, this notice ends within an hour.",
        ],
    ),
    "no worker": (
        of(LATE, STILL, replace(WELL, workers=0)),
        State.STALLED,
        [f"{LAG} {MEANWHILE} {ONCE}", NO_WORKER],
    ),
    "no worker, though something was published a moment ago": (
        of(LATE, FLOWING, replace(WELL, workers=0, daphnes=0)),
        State.STALLED,
        [f"{LAG} No Daphne serves them from the database. {ONCE}", NO_WORKER, NO_DAPHNE],
    ),
    "workers hang": (
        of(LATE, FLOWING, HUNG),
        State.STALLED,
        [
            f"{LAG} {MEANWHILE} {ONCE}",
            f"No worker has drained for 40 s. {WAITS} {RESTART_WORKERS}",
        ],
    ),
    "workers begin to hang": (
        of(LATE, STILL, replace(WELL, drained_seconds=12.0)),
        State.STALLED,
        [
            f"{LAG} {MEANWHILE} {ONCE}",
            f"No worker has drained for 12 s. {WAITS} {RESTART_WORKERS}",
        ],
    ),
    "workers begin to hang, nothing waits": (
        of(EMPTY, STILL, replace(WELL, drained_seconds=12.0)),
        State.OK,
        [QUIET],
    ),
    "workers hang, nothing waits": (
        of(EMPTY, STILL, HUNG),
        State.DEGRADED,
        [f"No worker has drained for 40 s. {WAITS} {RESTART_WORKERS}"],
    ),
    "the layer is away": (
        of(LATE, STILL, replace(HUNG, breakers=BREAKER, without_layer=WITHOUT_LAYER)),
        State.DEGRADED,
        [NO_LAYER, NO_MESSAGES, f"{LAG} {MEANWHILE} {ONCE}"],
    ),
    "the layer is away, nothing waits": (
        of(EMPTY, STILL, replace(WELL, without_layer=WITHOUT_LAYER)),
        State.DEGRADED,
        [NO_MESSAGES],
    ),
    "one worker did not look again": (
        of(BUSY, FLOWING, replace(WELL, breakers=BREAKER)),
        State.OK,
        [
            "1 notification on the way.",
            f"worker@a:1 can't reach the channel layer ({REFUSED}). Other workers publish meanwhile."
            f" {RECONNECT}",
        ],
    ),
    "the only worker has just lost the layer": (
        of(BUSY, FLOWING, replace(WELL, workers=1, drained_seconds=5.0, breakers=BREAKER)),
        State.DEGRADED,
        [NO_LAYER],
    ),
    "all of Redis is away": (
        of(
            LATE,
            STILL,
            replace(HUNG, breakers=BREAKER, without_layer=WITHOUT_LAYER, brokers=BROKER),
        ),
        State.DEGRADED,
        [NO_LAYER, NO_MESSAGES, NO_BROKER, f"{LAG} {MEANWHILE} {ONCE}"],
    ),
    "the broker is away": (
        of(LATE, STILL, replace(HUNG, brokers=BROKER, swept_seconds=40.0)),
        State.DEGRADED,
        [NO_BROKER, f"{LAG} {MEANWHILE} {ONCE}"],
    ),
    "the broker is away, and no Daphne is there": (
        of(LATE, STILL, replace(HUNG, brokers=BROKER, daphnes=0)),
        State.STALLED,
        [f"{LAG} No Daphne serves them from the database. {ONCE}", NO_DAPHNE, NO_BROKER],
    ),
    "no beat": (of(EMPTY, STILL, replace(HUNG, beats=0)), State.DEGRADED, [NO_BEAT]),
    "beat hangs": (
        of(EMPTY, STILL, replace(HUNG, swept_seconds=40.0)),
        State.DEGRADED,
        [
            f"Beat has not swept for 40 s. {UNSWEPT} Restart beat. If it hangs again, its log says where."
        ],
    ),
    "rows of a removed type": (
        of(
            replace(
                EMPTY, pending=3, unknown=(Unknown(object_type="gone", rows=3, seconds=7200.0),)
            ),
            STILL,
            WELL,
        ),
        State.DEGRADED,
        [f"3 notifications of the object type 'gone' wait, the oldest for 2 h: {REMOVED}"],
    ),
    "rows of a type that is being deployed": (
        of(
            replace(EMPTY, pending=1, unknown=(Unknown(object_type="gone", rows=1, seconds=2.0),)),
            STILL,
            WELL,
        ),
        State.OK,
        [
            "1 notification on the way.",
            f"1 notification of the object type 'gone' waits, the oldest for 2 s: {REMOVED}",
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_condition_has_its_state_and_sentences(case):
    """
    The sentences name the problem, its extent and its cure.
    """
    facts, state, reasons = CASES[case]
    diagnosis = diagnose(facts)
    assert (state, reasons) == (diagnosis.state, diagnosis.reasons)


@given(
    st.builds(
        replace,
        st.just(EMPTY),
        pending=st.integers(1, 10),
        retrying=st.integers(0, 2),
        unreplayed=st.integers(2, 3),
        failed_lately=st.integers(0, 2),
        oldest_seconds=st.floats(0, 1e6),
        lag_seconds=st.none() | st.sampled_from([0.0, LATE_SECONDS, LATE_SECONDS + 1]),
    ),
    st.sampled_from([STILL, FLOWING]),
    st.builds(
        ProcessSummary,
        workers=st.integers(0, 2),
        drained_seconds=st.sampled_from([0.0, SILENT_SECONDS, SILENT_SECONDS + 1]),
        breakers=st.sampled_from([{}, BREAKER]),
        beats=st.integers(0, 1),
        swept_seconds=st.sampled_from([0.0, SILENT_SECONDS + 1]),
        brokers=st.sampled_from([{}, BROKER]),
        daphnes=st.integers(0, 1),
        without_layer=st.sampled_from([(), WITHOUT_LAYER]),
    ),
)
@example(BUSY, FLOWING, WELL)
@example(LATE, STILL, replace(WELL, workers=0))
def test_laws(backlog, rates, processes):
    """
    There is always a reason, and a check of the doctor that shows it. The first problem decides the state.
    A site that isn't late is not STALLED; a late site without workers is.
    """
    status = diagnose(of(backlog, rates, processes))
    is_late = backlog.lag_seconds is not None and backlog.lag_seconds > LATE_SECONDS
    assert status.reasons
    assert all(reason.endswith(".") for reason in status.reasons)
    assert {problem.check for problem in status.problems} <= {*SOUND}
    assert all(
        [*State].index(problem.state) <= [*State].index(status.state) for problem in status.problems
    )
    assert len(status.reasons) == len(set(status.reasons))
    if status.state == State.STALLED:
        assert is_late
    if is_late:
        assert status.state != State.OK
        if not processes.workers:
            assert status.state == State.STALLED
    if status.state == State.OK:
        assert processes.workers
        assert processes.beats
        assert processes.daphnes
        assert not any(
            [processes.brokers, processes.without_layer, backlog.retrying, backlog.failed_lately]
        )
