"""What is broken, and when: by a site that only notes it."""

import asyncio
import json
import time

import pytest

from config.verify import faults
from config.verify.faults import Faults, cut_now_and_then, pass_time
from config.verify.history import Harmed
from config.verify.layers import SIGN
from config.verify.proxy import Proxy


class NotedSite:
    """Notes what is done to it."""

    def __init__(self, folder, *names):
        self.data_dir, self.running, self.done = folder, dict.fromkeys(names), []

    def __getattr__(self, name):
        return lambda *words: self.done.append(" ".join((name, *words)))


async def broken(site, *names, seconds=1.0, every=0.01):
    """Return what is done to a site in some time, and the history of it."""
    over, history = asyncio.Event(), []
    running = asyncio.create_task(Faults(site, names, "seed", over, history).run(every))
    await pass_time(seconds, over)
    over.set()
    await running
    return site.done, history


async def test_each_is_done_once_and_then_any(tmp_path):
    """
    In the scenario's order, then at random, in the order that the seed gives.
    """
    names = ("flush_redis", "restart_daphne")
    runs = [await broken(NotedSite(tmp_path), *names) for _ in range(2)]
    done = [[harm.harm for harm in history] for _, history in runs]
    assert list(names) == done[0][:2]
    shorter = min(map(len, done))
    assert shorter > 3
    assert done[0][:shorter] == done[1][:shorter]
    assert ["flush_redis", "stop daphne", "start daphne"] == runs[0][0][:3]


async def test_processes_that_the_pattern_has_not_are_left_alone(tmp_path):
    """
    Killed, frozen and started again is what is there; the workers take turns.
    """
    names = ("kill_worker", "freeze_worker", "kill_beat")
    done, history = await broken(NotedSite(tmp_path), *names, seconds=0.2)
    assert [] == done
    assert history
    site = NotedSite(tmp_path, "worker1", "worker2", "beat")
    harms = Faults(site, (), "seed", asyncio.Event(), [])
    for name in ("kill_worker", "freeze_worker", "kill_beat", "kill_daphne", "kill_writer"):
        await asyncio.to_thread(getattr(harms, name))
    kills = ["kill beat", "launch beat", "kill daphne", "start daphne"]
    workers = ["kill worker2", "launch worker2", "freeze worker1", "resume worker1"]
    assert [*workers, *kills] == site.done
    for name in ("kill_postgres", "kill_redis"):
        await asyncio.to_thread(getattr(harms, name))
    servers = ["kill_postgres", "start_servers", "kill_redis", "start_servers"]
    assert servers == site.done[-4:]


async def test_who_is_over_waits_for_nobody(tmp_path):
    """
    Redis is back as soon as the run is over.
    """
    begun = time.monotonic()
    done, _ = await broken(NotedSite(tmp_path), "take_redis_away", seconds=0.3)
    assert ["kill_redis", "start_servers"] == done
    assert time.monotonic() - begun < faults.AWAY_SECONDS / 2


async def test_messages_are_lost_for_a_while(tmp_path):
    """
    As long as the layers see the sign.
    """
    site = NotedSite(tmp_path)
    losing = asyncio.create_task(broken(site, "lose_messages", seconds=0.1))
    while not (tmp_path / SIGN).exists():
        await asyncio.sleep(0.01)
    await losing
    assert not (tmp_path / SIGN).exists()


@pytest.mark.parametrize("seed", range(6))
async def test_lines_are_cut_now_and_then(seed):
    """
    In one of three ways, which the history names with its client; in the end the line is whole.
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
    (harmed,) = history
    assert isinstance(harmed, Harmed)
    assert (True, "kim") == (harmed.harm in {"reset", "half_open", "stall"}, harmed.client)
