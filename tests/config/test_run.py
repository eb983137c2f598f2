"""What of a run needs no site."""

import asyncio
import subprocess
import sys

import pytest

from config.verify.processes import Processes, wait_until
from config.verify.run import OURS, Run
from config.verify.scenarios import SCENARIOS


class SentAway:
    """A client that the server ends."""

    name = "kim"

    async def run(self):
        raise RuntimeError("4401")


async def test_who_is_sent_away_is_told_of():
    """
    The run goes on, and judges what was missed like anything else.
    """
    said = []
    run = Run(SCENARIOS["steady"], OURS, 1, None, said.append)
    await run._follow(SentAway())
    assert ["kim was sent away: RuntimeError('4401')"] == said


async def test_nobody_is_waited_for_in_vain():
    """
    Where all have everything, the run is over.
    """
    run = Run(SCENARIOS["steady"], OURS, 1, None, print)
    async with asyncio.timeout(10):
        await run._wait_for_the_rest([])


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
