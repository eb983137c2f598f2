"""What of a run needs no site."""

import asyncio
import subprocess
import sys
import threading

import pytest

from tests.rig import clients as module
from tests.rig.checker import judge
from tests.rig.clients import Clients
from tests.rig.command.failures import failure_in
from tests.rig.history import Committed
from tests.rig.listeners import Listener
from tests.rig.load import Load
from tests.rig.processes import EndedError, Processes, wait_until
from tests.rig.run import Run
from tests.rig.scenarios import OURS, SCENARIOS

STREAM = "ticket:1"
ABOUT = {"name": "kim", "token": "", "is_allowed": True, "subjects": [["ticket", "abc", STREAM]]}


class SentAway(Listener):
    """A client that the server ends."""

    characters = 0

    async def run(self):
        raise RuntimeError("4401")


class ShownLate(Listener):
    """A client that is shown something, and the same again when nothing is missing any more."""

    characters = 0

    async def run(self):
        self.follow(STREAM)
        for _ in range(2):
            self.show(STREAM, "1")
            await asyncio.sleep(2 * module.LOOK_SECONDS)


class SlowSite:
    """A site in which a program takes its time."""

    def __init__(self):
        self.is_asked, self.may_answer = threading.Event(), threading.Event()

    def prepare(self, **counts):
        self.is_asked.set()
        self.may_answer.wait()
        return {"projects": [], "listeners": []}


async def test_who_is_sent_away_is_an_error():
    """
    It is reported at once, nothing waits for it, and the result has it, whatever it has missed.
    """
    said, history = [], []
    async with Clients(OURS, history, said.append) as clients:
        away = SentAway(ABOUT, 1, history)
        await clients.follow(away)
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
    async with Clients(OURS, [], print) as clients:
        clients.listeners += [kind(ABOUT, 1, []) for kind in (Silent, SentAway)]
        with pytest.raises(TimeoutError, match="1 of 2 clients still wait"):
            await clients.connect_all(0.2)


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


async def test_nothing_missing_is_not_waited_for():
    """
    Where all have everything, the run is over.
    """
    async with asyncio.timeout(module.PATIENCE), Clients(OURS, [], print) as clients:
        await clients.wait_for([])


async def test_what_comes_too_much_is_waited_for():
    """
    A repetition behind all that was due is found, too.
    """
    history = []
    async with Clients(OURS, history, print) as clients:
        clients.listeners.append(ShownLate(ABOUT, 1, history))
        running = asyncio.create_task(clients.follow(clients.listeners[0]))
        change = Committed(content="1", streams=(STREAM,), at=0.0)
        await clients.wait_for([change])
        await running
    assert [f"kim, {STREAM}: 1"] == judge([change, *history], has_journal=False).repeated


async def test_stopped_before_it_begins():
    """
    It is given up at once, for there is nothing to judge.
    """
    site = SlowSite()
    run = Run(SCENARIOS["steady"], OURS, 1, site, print)
    completing = asyncio.create_task(run.complete())
    await asyncio.to_thread(site.is_asked.wait)
    run.stop()
    with pytest.raises(asyncio.CancelledError):
        await completing
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
        expected = f"worker1 has ended by itself, with code 3; its log is {tmp_path}/worker1.log."
        with pytest.raises(EndedError, match=expected):
            processes.start("worker1")
        processes.launch("writer1", "writer2")
        processes.running["writer2"].wait()
        processes.running["writer1"].wait()
        with pytest.raises(EndedError, match="writer1 has ended"):
            Load(processes, SCENARIOS["steady"], OURS, 1).stop_writing()
