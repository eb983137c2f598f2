"""Tests of faults and their order, with a site that only records them."""

import asyncio
import json
import time

import pytest

from tests.rig import faults
from tests.rig.failpoints import LOSE
from tests.rig.faults import Faults, break_repeatedly, pass_time
from tests.rig.history import Broken
from tests.rig.proxy import Proxy


class RecordingSite:
    """A site that records the calls of its methods."""

    def __init__(self, *names):
        self.running, self.done = dict.fromkeys(names), []
        self.workers = [name for name in names if name.startswith("worker")]

    def __getattr__(self, name):
        return lambda *arguments: self.done.append(" ".join((name, *arguments)))


async def broken(site, *names, times):
    """Cause so many faults, or a few more. Return the calls that the site received, and the history."""
    over, history = asyncio.Event(), []
    faults = Faults(site, names, "seed", over, history)
    running = asyncio.create_task(faults.run(0.01))
    while faults.count < times:
        await asyncio.sleep(0.01)
    over.set()
    await running
    return site.done, history[:times]


async def test_each_fault_comes_once_and_then_at_random():
    """
    Each fault comes once, in the scenario's order; after that the seed decides.
    """
    names = ("flush_redis", "restart_daphne")
    runs = [await broken(RecordingSite(), *names, times=6) for _ in range(2)]
    first, second = ([one.fault for one in history] for _, history in runs)
    assert (list(names), first) == (first[:2], second)
    assert ["flush_redis", "stop daphne", "start daphne"] == runs[0][0][:3]


async def test_a_scenario_without_faults():
    """
    Nothing happens if there are no faults.
    """
    history = []
    await Faults(RecordingSite(), (), "seed", asyncio.Event(), history).run(0)
    assert [] == history


async def test_missing_processes_are_left_alone():
    """
    Only running processes are killed, frozen and started again. Faults hit the workers in turn.
    """
    names = ("kill_worker", "freeze_worker", "kill_beat")
    done, history = await broken(RecordingSite(), *names, times=3)
    assert ([], 3) == (done, len(history))
    names = ("kill_worker", "freeze_worker", "kill_beat", "kill_daphne", "kill_writer")
    done, _ = await broken(RecordingSite("worker1", "worker2", "beat"), *names, times=5)
    workers = ["kill worker2", "launch worker2", "freeze worker1", "resume worker1"]
    others = ["kill beat", "launch beat", "kill daphne", "start daphne"]
    assert [*workers, *others] == done[:8]


async def test_servers_are_killed_and_started_again():
    """
    PostgreSQL and Redis are started after each kill; the failpoint that loses messages is cleared again.
    """
    names = ("kill_postgres", "kill_redis", "lose_messages")
    done, _ = await broken(RecordingSite(), *names, times=3)
    servers = ["kill_postgres", "start_servers", "kill_redis", "start_servers"]
    assert [*servers, f"set_failpoint {LOSE}", f"clear_failpoint {LOSE}"] == done[:6]


async def test_an_outage_ends_with_the_run():
    """
    Redis is started as soon as the run is over.
    """
    begun = time.monotonic()
    done, _ = await broken(RecordingSite(), "take_redis_away", times=1)
    assert ["kill_redis", "start_servers"] == done
    assert time.monotonic() - begun < faults.AWAY_SECONDS


@pytest.mark.parametrize("seed", range(6))
async def test_clients_are_cut_off_again_and_again(seed):
    """
    The history names the client and one of three kinds of cut. In the end the connection works again.
    """
    over, history = asyncio.Event(), []

    async def echo(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Proxy(f"ws://127.0.0.1:{port}") as proxy:
            cutting = asyncio.create_task(
                break_repeatedly(proxy, "kim", 0.01, f"{seed}", over, history)
            )
            await pass_time(0.1, over)
            over.set()
            await cutting
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(json.dumps("whole").encode() + b"\n")
            assert b'"whole"\n' == await reader.readline()
            writer.close()
    (broken,) = history
    assert isinstance(broken, Broken)
    assert (True, "kim") == (broken.fault in {"reset", "half_open", "stall"}, broken.client)
