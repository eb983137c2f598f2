"""Tests of exhausted resources and hostile input: clients recover as soon as these end."""

import asyncio
import base64
import json
import os
import pickle
import shutil
import socket
import struct
import subprocess
import sys
import uuid
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from websockets.asyncio.client import connect

from config.embedded import postgres_url, redis_url
from tests.rig.promises.followed import followed
from tests.waiting import PATIENCE, wait_until

HALF_A_LINE = b"GET /ws/notif"
HANDSHAKE = (
    "GET /ws/notifications/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Authorization: Token {}\r\n\r\n"
)
RESET = struct.pack("ii", 1, 0)


@pytest.fixture(scope="module")
def names():
    """Return the names of the processes that serve sockets."""
    return ["worker1", "beat", "daphne"]


@pytest.fixture
def server(site):
    """Yield a client of the site's Redis."""
    with redis.Redis.from_url(redis_url(site.data_dir)) as client:
        yield client


@contextmanager
def full_disk(server):
    """Make Redis fail to save its snapshot, so that it refuses writes."""
    # A file can't replace a folder that isn't empty. Redis 7 refuses to change its paths.
    (folder,), (name,) = (server.config_get(key).values() for key in ("dir", "dbfilename"))
    snapshot = Path(folder, name)
    snapshot.unlink(missing_ok=True)
    (snapshot / "in the way").mkdir(parents=True)
    server.config_set("save", "3600 1000000")
    server.bgsave()
    wait_until(lambda: "err" == server.info()["rdb_last_bgsave_status"], "the snapshot has failed")
    yield
    server.config_set("save", "")
    shutil.rmtree(snapshot)


async def test_the_disk_of_redis(site, server):
    """
    Worker and beat keep running. Clients receive changes made meanwhile from the database.

    The relay publishes these changes later.
    """
    async with followed(site) as it:
        with full_disk(server):
            await it.change("meanwhile")
            assert "MISCONF" in site.log("beat")
        await it.change("after")


async def test_the_connections_of_postgres(site):
    """
    A process that is connected commits a change while no other can connect. Clients receive it later.
    """
    async with followed(site) as it:
        with ExitStack() as stack:
            taken = []
            with pytest.raises(psycopg.OperationalError, match="too many clients"):
                while True:
                    connection = psycopg.connect(postgres_url(site.data_dir), autocommit=True)
                    taken.append(stack.enter_context(connection))
            it.change_by(taken[0], "meanwhile")
        await it.is_shown("meanwhile")
        await it.change("after")


#: Inserts published rows until their table is longer than a segment of the WAL: no file may get longer.
FILL = """
INSERT INTO pillarbox_notificationoutbox
    (stream, shard, "offset", event_id, event, object_type, object_id, payload, published_at)
SELECT 'full', 0, number, gen_random_uuid(), 'FILL', 'x', 'x', to_jsonb(repeat('x', 1700)), now()
FROM generate_series(1, 9000) AS each (number)
"""


@contextmanager
def room_for(site, size):
    """Limit the size of PostgreSQL's files, which it reports as a full disk."""
    pid = (site.data_dir / "postgres" / "postmaster.pid").read_text().split()[0]
    server = psutil.Process(int(pid))
    # The server's own user may set its limits. Root may lack the capability for it.
    user = {"user": server.uids().real, "group": server.gids().real}

    def limit(soft):
        for process in (server, *server.children()):
            command = ["prlimit", f"--pid={process.pid}", f"--fsize={soft}:"]
            subprocess.run(command, check=process is server, capture_output=True, **user)

    limit(size)
    yield
    limit("unlimited")


@pytest.mark.skipif(sys.platform != "linux", reason="limits another process's files")
async def test_the_disk_of_postgres(site):
    """
    Saves fail. Committed rows are published when there is room again, without counting an attempt.
    """
    async with followed(site) as it:
        site.query(FILL)
        ((size,),) = site.query("SELECT pg_relation_size('pillarbox_notificationoutbox')")
        with room_for(site, size), pytest.raises(psycopg.Error, match="could not extend file"):
            site.change(it.ticket, it.project, *map(str, range(10_000)))
        await it.change("after")


class Planted:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def message(body, *, task="pillarbox.drain", kind="application/json"):
    """Return a Celery message as it is stored in Redis."""
    key = str(uuid.uuid4())
    headers = {"id": key, "task": task, "lang": "py", "argsrepr": "", "kwargsrepr": "", "eta": None}
    properties = {
        "body_encoding": "base64",
        "correlation_id": key,
        "delivery_info": {"exchange": "", "routing_key": "pillarbox"},
        "delivery_mode": 2,
        "delivery_tag": key,
        "priority": 0,
    }
    encoding = "utf-8" if kind == "application/json" else "binary"
    envelope = {"content-type": kind, "content-encoding": encoding, "headers": headers}
    envelope |= {"body": base64.b64encode(body).decode(), "properties": properties}
    return json.dumps(envelope)


async def test_hostile_messages_in_the_broker(site, server, tmp_path):
    """
    The worker runs only its own tasks, and keeps running.
    """
    planted = pickle.dumps(([], {"x": Planted(str(tmp_path / "planted"))}, {}))
    async with followed(site) as it:
        server.lpush(
            "pillarbox",
            message(planted, kind="application/x-python-serialize"),
            message(b"[[], {}, {}]", task="os.system"),
            message(b'[[1], {"x": 2}, {}]'),
            message(b"{{{"),
        )
        wait_until(lambda: not site.waiting(), "the worker has taken the messages")
        await it.change("after")
    assert not (tmp_path / "planted").exists()
    for logged in ("untrusted content", "unregistered task", "argument", "Can't decode"):
        assert logged in site.log("worker1")


def connect_and_disconnect(port, it, times):
    """Connect and disconnect: during the handshake, after it, during a frame, and after subscribing."""
    handshake, incomplete = HANDSHAKE.format(it.token).encode(), b"\x81\xffmask{"
    ways = [HALF_A_LINE, handshake, handshake + incomplete]
    # The user's own stream has no other subscriber.
    for subject in ({"object_type": "me", "id": "me"}, {**it.collection, "snapshot": True}):
        text = json.dumps(subject).encode()
        # Masked with zeros.
        ways.append(handshake + b"\x81" + bytes([0x80 | len(text), 0, 0, 0, 0]) + text)
    for number in range(times):
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as one:
            one.sendall(ways[number % 5])
            if number % 5:
                assert one.recv(12).startswith(b"HTTP/1.1 101")
            if number % 3:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


#: The growth that isn't a leak: a thread that Daphne starts when it needs one, with its own connection.
LATER = 4


async def test_many_connections_that_end(site, server):
    """
    Many incomplete requests don't keep other clients out. When they end, all their resources are released.

    That includes their channels in Redis.
    """
    daphne = psutil.Process(site.running["daphne"].pid)
    connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'daphne'"

    def used():
        ((kept,),) = site.query(connections)
        clients = server.info()["connected_clients"]
        return daphne.num_fds(), daphne.num_threads(), kept, clients

    async with followed(site) as it:
        channels = {*server.pubsub_channels()}
        await asyncio.to_thread(connect_and_disconnect, site.daphne_port, it, 100)
        await it.change("before")
        before = used()
        with ExitStack() as stack:
            for _ in range(300):
                address = ("127.0.0.1", site.daphne_port)
                one = stack.enter_context(socket.create_connection(address, PATIENCE))
                one.sendall(HALF_A_LINE)
            await asyncio.to_thread(connect_and_disconnect, site.daphne_port, it, 200)
            await it.change("meanwhile")
            assert daphne.num_fds() > before[0] + 200
        wait_until(
            lambda: all(now <= then + LATER for now, then in zip(used(), before, strict=True)),
            "the resources are released",
        )
        wait_until(lambda: channels == {*server.pubsub_channels()}, "no group has their channels")
        await it.change("after")


#: The number of objects in a collection beside those that clients follow.
MANY = 2000
CREATE_MANY = """
INSERT INTO tickets_ticket (project_id, title, description, status, priority, created, modified)
SELECT %s, 'one of many', '', 'open', 2, now(), now() FROM generate_series(1, %s)
"""


async def snapshot_of(port, it):
    """Return the ids of a collection's objects in the snapshot that a client receives."""
    headers = {"Authorization": f"Token {it.token}"}
    url = f"ws://127.0.0.1:{port}/ws/notifications/"
    shown, is_done = [], False
    async with connect(url, additional_headers=headers, proxy=None) as client:
        await client.send(json.dumps({**it.collection, "snapshot": True}))
        while not is_done:
            frame = json.loads(await asyncio.wait_for(client.recv(), PATIENCE))
            shown += [item["id"] for item in frame.get("items", [])]
            is_done = frame.get("done")
    return shown


async def test_snapshots_of_many_objects(site):
    """
    Several clients receive each object once, at the same time, while other clients receive changes.
    """
    async with followed(site) as it:
        with site.connection() as connection:
            connection.execute("SET session_replication_role = replica")  # nothing is captured
            connection.execute(CREATE_MANY, [it.project, MANY])
        snapshots = [asyncio.create_task(snapshot_of(site.daphne_port, it)) for _ in range(3)]
        await it.change("meanwhile")
        for shown in await asyncio.gather(*snapshots):
            assert MANY + 1 == len(shown) == len(set(shown))
        await it.change("after")
