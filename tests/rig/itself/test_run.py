"""Tests of the parts of a run that need no site."""

import asyncio
import shlex
import subprocess
import sys
import threading

import pytest

from tests.rig import clients as module
from tests.rig.checker import check_history
from tests.rig.clients import Clients
from tests.rig.command.failures import failure_in
from tests.rig.history import Committed
from tests.rig.listeners import Listener
from tests.rig.load import Load
from tests.rig.processes import EndedError, Processes
from tests.rig.run import Run
from tests.rig.scenarios import OURS, SCENARIOS
from tests.waiting import wait_until

STREAM = "ticket:1"
ABOUT = {"name": "kim", "token": "", "is_allowed": True, "subjects": [["ticket", "abc", STREAM]]}


class Failing(Listener):
    """A client whose socket the server ends."""

    characters = 0

    async def run(self):
        raise RuntimeError("4401")


class Repeating(Listener):
    """A client that is shown a change, and again after it has everything."""

    characters = 0

    async def run(self):
        self.record_subscription(STREAM)
        for _ in range(2):
            self.record_delivery(STREAM, "1")
            await asyncio.sleep(2 * module.LOOK_SECONDS)


class SlowSite:
    """A site whose `prepare` waits until the test allows it to return."""

    def __init__(self):
        self.is_asked, self.may_answer = threading.Event(), threading.Event()

    def prepare(self, **counts):
        self.is_asked.set()
        self.may_answer.wait()
        return {"projects": [], "listeners": []}


async def test_a_client_that_fails_is_an_error():
    """
    The failure is logged at once, nothing waits for the client, and the result has the error.
    """
    logged, history = [], []
    async with Clients(OURS, history, logged.append) as clients:
        failing = Failing(ABOUT, 1, history)
        await clients.follow(failing)
    assert ["kim stopped following: RuntimeError('4401')"] == logged
    assert failing.is_ready.is_set()
    assert logged == check_history(history).lost


class Silent(Failing):
    """A client whose server doesn't answer."""

    async def run(self):
        await asyncio.Event().wait()


async def test_a_client_without_an_answer():
    """
    The error says how many clients are still waiting.
    """
    async with Clients(OURS, [], print) as clients:
        clients.listeners += [kind(ABOUT, 1, []) for kind in (Silent, Failing)]
        with pytest.raises(TimeoutError, match="1 of 2 clients still wait"):
            await clients.connect_all(0.2)


@pytest.mark.parametrize(
    ("expected", "error"),
    [
        ("No space left", OSError(28, "No space left")),
        ("worker1 has", ExceptionGroup("", [ExceptionGroup("", [EndedError("worker1 has")])])),
    ],
)
def test_failures_of_the_machine(expected, error):
    """
    A failure is found in any group of exceptions.
    """
    assert expected in str(failure_in(error))


@pytest.mark.parametrize("bug", [KeyError("a bug"), ExceptionGroup("", [KeyError("a bug")])])
def test_a_bug_is_raised_again(bug):
    """
    An error that is a bug is raised unchanged, with its traceback.
    """
    with pytest.raises(type(bug)) as caught:
        failure_in(bug)
    assert bug is caught.value


async def test_nothing_missing_is_not_waited_for():
    """
    The run ends if all clients have everything.
    """
    async with asyncio.timeout(module.PATIENCE), Clients(OURS, [], print) as clients:
        await clients.wait_for([])


async def test_late_repetitions_are_waited_for():
    """
    A repetition is found even if it arrives after all missing notifications.
    """
    history = []
    async with Clients(OURS, history, print) as clients:
        clients.listeners.append(Repeating(ABOUT, 1, history))
        running = asyncio.create_task(clients.follow(clients.listeners[0]))
        change = Committed(content="1", streams=(STREAM,), at=0.0)
        await clients.wait_for([change])
        await running
    assert [f"kim, {STREAM}: 1"] == check_history([change, *history], has_journal=False).repeated


async def test_a_run_that_is_stopped_before_it_begins():
    """
    The run is cancelled at once, because there is no history to check.
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


def test_waiting_in_vain():
    """
    The error names the condition.
    """
    with pytest.raises(TimeoutError, match=r"Waited in vain until it is there\."):
        wait_until(lambda: False, "it is there", patience=0.1)


def test_processes_end_with_the_block(tmp_path):
    """
    Processes in the background end with the block. `run` returns the output of a program, or fails.
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
    Nothing waits for a process that has ended; the error names its log. Load checks its writers, too.
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


def test_a_process_that_does_not_end_is_explained(tmp_path):
    """
    Its log and what its threads were doing are with the error, and it is killed.
    """
    processes = Processes(tmp_path)
    code = "import signal\nsignal.signal(15, print)\nprint('begun', flush=True)\nwhile True: signal.pause()"
    processes.commands["stubborn"] = f"exec python -c {shlex.quote(code)}"
    with pytest.raises(subprocess.TimeoutExpired) as caught, processes:
        processes.launch("stubborn")
        wait_until(lambda: "begun" in processes.log("stubborn"), "it has begun")
        processes._wait_for("stubborn", processes.running["stubborn"], patience=1)
    log, stacks = caught.value.__notes__
    assert "begun" in log
    # Some systems let only root look into a process that isn't a child.
    assert "<module>" in stacks or "Permission" in stacks
    assert None is not processes.running["stubborn"].poll()
