"""Tests of the proxy: it breaks connections as ordered."""

import asyncio
import errno
import gc
import socket
from contextlib import suppress

import pytest

from tests.rig.proxy import Proxy
from tests.waiting import PATIENCE


async def echo(reader, writer):
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


@pytest.fixture
async def proxy():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Proxy(f"http://127.0.0.1:{port}") as proxy:
        yield proxy


async def test_forwards(proxy):
    """
    The proxy forwards bytes at once, or as soon as it no longer stalls.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"one")
    assert b"one" == await reader.readexactly(3)
    proxy.stall()
    writer.write(b"two")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readexactly(3), 0.1)
    proxy.resume()
    assert b"two" == await reader.readexactly(3)
    writer.close()


async def test_resets_open_connections(proxy):
    """
    The client sees a reset. Connections that were already reset are left alone.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"one")
    assert b"one" == await reader.readexactly(3)
    proxy.reset()
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_refuses(proxy):
    """
    The proxy ends new connections until it accepts again.
    """
    await proxy.refuse()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert b"" == await reader.read()
    assert 1 == proxy.refused
    writer.close()
    await proxy.accept()
    await test_forwards(proxy)


async def test_without_a_server():
    """
    The proxy ends a connection if its server can't be reached.
    """
    async with Proxy("redis://127.0.0.1:1") as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert b"" == await reader.read()
        writer.close()


@pytest.mark.parametrize("steps", range(6))
async def test_it_ends_while_a_client_connects(steps):
    """
    Whenever it ends, the client's connection ends, and none is left open in this process.
    """
    with socket.socket() as client:
        async with Proxy("redis://127.0.0.1:1") as proxy:
            client.setblocking(False)
            assert client.connect_ex(("127.0.0.1", proxy.port)) in {0, errno.EINPROGRESS}
            for _ in range(steps):  # of the event loop
                await asyncio.sleep(0)
        client.setblocking(True)
        client.settimeout(PATIENCE)
        with suppress(ConnectionResetError):
            assert b"" == await asyncio.to_thread(client.recv, 1)
    gc.collect()  # a connection that was left open warns here
