"""Faults, and their order: of a site that only notes them."""

import asyncio
import json
import time

import pytest

from tests.rig import faults
from tests.rig.faults import Faults, cut_now_and_then, pass_time
from tests.rig.history import Broken
from tests.rig.orders import LOSE
from tests.rig.proxy import Proxy


class NotedSite:
    """Notes what is done to it."""

    def __init__(self, *names):
        self.running, self.done = dict.fromkeys(names), []
        self.workers = [name for name in names if name.startswith("worker")]

    def __getattr__(self, name):
        return lambda *words: self.done.append(" ".join((name, *words)))


async def broken(site, *names, times):
    """Return what is done to a site until so many faults have begun, or a few more, and the history."""
    over, history = asyncio.Event(), []
    faults = Faults(site, names, "seed", over, history)
    running = asyncio.create_task(faults.run(0.01))
    while faults.count < times:
        await asyncio.sleep(0.01)
    over.set()
    await running
    return site.done, history[:times]


async def test_each_is_caused_once_and_then_any():
    """
    In the scenario's order, then at random, in the order that the seed gives.
    """
    names = ("flush_redis", "restart_daphne")
    runs = [await broken(NotedSite(), *names, times=6) for _ in range(2)]
    first, second = ([one.fault for one in history] for _, history in runs)
    assert (list(names), first) == (first[:2], second)
    assert ["flush_redis", "stop daphne", "start daphne"] == runs[0][0][:3]


async def test_without_faults_there_are_none():
    """
    A scenario may have none.
    """
    history = []
    await Faults(NotedSite(), (), "seed", asyncio.Event(), history).run(0)
    assert [] == history


async def test_processes_that_the_pattern_has_not_are_left_alone():
    """
    Processes that are there are killed, frozen and started again; the workers take turns.
    """
    names = ("kill_worker", "freeze_worker", "kill_beat")
    done, history = await broken(NotedSite(), *names, times=3)
    assert ([], 3) == (done, len(history))
    names = ("kill_worker", "freeze_worker", "kill_beat", "kill_daphne", "kill_writer")
    done, _ = await broken(NotedSite("worker1", "worker2", "beat"), *names, times=5)
    workers = ["kill worker2", "launch worker2", "freeze worker1", "resume worker1"]
    others = ["kill beat", "launch beat", "kill daphne", "start daphne"]
    assert [*workers, *others] == done[:8]


async def test_servers_are_killed_and_started_again():
    """
    Both of them; while losing is ordered the layer loses messages.
    """
    names = ("kill_postgres", "kill_redis", "lose_messages")
    done, _ = await broken(NotedSite(), *names, times=3)
    servers = ["kill_postgres", "start_servers", "kill_redis", "start_servers"]
    assert [*servers, f"order {LOSE}", f"revoke {LOSE}"] == done[:6]


async def test_an_outage_ends_with_the_run():
    """
    Redis is back as soon as the run is over.
    """
    begun = time.monotonic()
    done, _ = await broken(NotedSite(), "take_redis_away", times=1)
    assert ["kill_redis", "start_servers"] == done
    assert time.monotonic() - begun < faults.AWAY_SECONDS


@pytest.mark.parametrize("seed", range(6))
async def test_lines_are_cut_now_and_then(seed):
    """
    In one of three ways, which the history names, with the client; in the end the line is whole.
    """
    over, history = asyncio.Event(), []

    async def echo(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Proxy(f"ws://127.0.0.1:{port}") as line:
            cutting = asyncio.create_task(
                cut_now_and_then(line, "kim", 0.01, f"{seed}", over, history)
            )
            await pass_time(0.1, over)
            over.set()
            await cutting
            reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
            writer.write(json.dumps("whole").encode() + b"\n")
            assert b'"whole"\n' == await reader.readline()
            writer.close()
    (broken,) = history
    assert isinstance(broken, Broken)
    assert (True, "kim") == (broken.fault in {"reset", "half_open", "stall"}, broken.client)
