"""What of a run needs no site."""

import asyncio
import subprocess
import sys
import threading

import pytest

from config.verify import crowd as crowds
from config.verify.checker import judge
from config.verify.crowd import Crowd
from config.verify.failures import failure_in
from config.verify.history import Committed
from config.verify.listeners import Listener
from config.verify.processes import EndedError, Processes, wait_until
from config.verify.run import Run
from config.verify.scenarios import SCENARIOS
from config.verify.stage import OURS, Stage

ABOUT = {"name": "kim", "token": "", "is_allowed": True, "subjects": [["ticket", "abc"]]}


class SentAway(Listener):
    """A client that the server ends."""

    received = 0

    async def run(self):
        raise RuntimeError("4401")


class HeardLate(Listener):
    """A client that is shown something, and the same again when nothing is missing any more."""

    received = 0

    async def run(self):
        self.follow("ticket abc")
        for _ in range(2):
            self.hear("ticket abc", "1")
            await asyncio.sleep(2 * crowds.LOOK_SECONDS)


class SlowSite:
    """A site in which a program takes its time."""

    def __init__(self):
        self.is_asked, self.may_answer = threading.Event(), threading.Event()

    def run(self, *words):
        self.is_asked.set()
        self.may_answer.wait()
        return "nothing"


async def test_who_is_sent_away_is_an_error():
    """
    Whatever it has missed by it: it is told at once, nobody waits for it, and the verdict has it.
    """
    said, history = [], []
    async with Crowd(OURS, history, said.append) as crowd:
        away = SentAway(ABOUT, 1, history)
        await crowd.follow(away)
    assert ["kim was sent away: RuntimeError('4401')"] == said
    assert away.is_ready.is_set()
    assert said == judge(history).lost


class Silent(SentAway):
    """A client that the server doesn't answer."""

    async def run(self):
        await asyncio.Event().wait()


async def test_who_isn_t_let_in():
    """
    The error says how many they are.
    """
    async with Crowd(OURS, [], print) as crowd:
        crowd.listeners += [kind(ABOUT, 1, []) for kind in (Silent, SentAway)]
        with pytest.raises(TimeoutError, match="1 of 2 clients are not in yet"):
            await crowd.enter(0.2)


@pytest.mark.parametrize(
    ("expected", "error"),
    [
        ("No space left", OSError(28, "No space left")),
        ("worker1 has", ExceptionGroup("", [ExceptionGroup("", [EndedError("worker1 has")])])),
    ],
)
def test_what_keeps_a_run_from_being_run(expected, error):
    """
    Wherever it was raised, it is found.
    """
    assert expected in str(failure_in(error))


@pytest.mark.parametrize("bug", [KeyError("a bug"), ExceptionGroup("", [KeyError("a bug")])])
def test_a_bug_is_none_of_them(bug):
    """
    It is raised as it was, with its traceback.
    """
    with pytest.raises(type(bug)) as caught:
        failure_in(bug)
    assert bug is caught.value


async def test_nobody_is_waited_for_in_vain():
    """
    Where all have everything, the run is over.
    """
    async with asyncio.timeout(crowds.PATIENCE[OURS]), Crowd(OURS, [], print) as crowd:
        await crowd.wait_for([])


async def test_what_comes_too_much_is_waited_for():
    """
    A repetition behind all that was due is found, too.
    """
    history = []
    async with Crowd(OURS, history, print) as crowd:
        crowd.listeners.append(HeardLate(ABOUT, 1, history))
        running = asyncio.create_task(crowd.follow(crowd.listeners[0]))
        change = Committed(content="1", streams=("ticket abc",), at=0.0)
        await crowd.wait_for([change])
        await running
    assert ["kim, ticket abc: 1"] == judge([change, *history]).repeated


async def test_stopped_before_it_begins():
    """
    It is given up at once, for there is nothing to judge.
    """
    site = SlowSite()
    run = Run(SCENARIOS["steady"], OURS, 1, site, print)
    playing = asyncio.create_task(run.play())
    await asyncio.to_thread(site.is_asked.wait)
    run.stop()
    with pytest.raises(asyncio.CancelledError):
        await playing
    site.may_answer.set()
    assert run.was_stopped


def test_what_is_waited_for_in_vain():
    """
    The error says what it was.
    """
    with pytest.raises(TimeoutError, match=r"Waited in vain until it is there\."):
        wait_until(lambda: False, "it is there", patience=0.1)


def test_processes_end_with_the_block(tmp_path):
    """
    Those that run on; what is run to its end says what it prints, or fails.
    """
    with Processes(tmp_path) as processes:
        processes.commands["idle"] = (
            f"exec {sys.executable} -c 'import time; print(1); time.sleep(99)'"
        )
        processes.launch("idle")
        process = processes.running["idle"]
        wait_until(lambda: "1" in processes.log("idle"), "it runs")
        assert "2\n" == processes.run("-c", "print(2)")
        with pytest.raises(subprocess.CalledProcessError):
            processes.manage("nonsense")
    assert process.poll() is not None


def test_a_process_that_ends_by_itself(tmp_path):
    """
    It isn't waited for; the error says where is what it said. A writer that does so is no writer.
    """
    with Processes(tmp_path) as processes:
        processes.commands |= dict.fromkeys(("worker1", "writer1", "writer2"), "exit 3")
        expected = (
            f"worker1 has ended by itself, with code 3; what it said is in {tmp_path}/worker1.log."
        )
        with pytest.raises(EndedError, match=expected):
            processes.start("worker1")
        processes.launch("writer1", "writer2")
        processes.running["writer2"].wait()
        processes.running["writer1"].wait()
        with pytest.raises(EndedError, match="writer1 has ended"):
            Stage(processes, SCENARIOS["steady"], OURS, 1).stop_writing()
