"""The proxy breaks connections as it should, and leaves nothing behind."""

import asyncio

import pytest

from tests.rig.proxy import Proxy


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


async def test_lets_through(proxy):
    """
    What one end says the other hears, at once or when it no longer stalls.
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


async def test_resets_what_is_open(proxy):
    """
    The client sees a reset; a connection that was cut already is left alone.
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
    Until it accepts again.
    """
    await proxy.refuse()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert b"" == await reader.read()
    assert 1 == proxy.refused
    writer.close()
    await proxy.accept()
    await test_lets_through(proxy)


async def test_is_as_absent_as_its_server():
    """
    A server that isn't there ends the connection.
    """
    async with Proxy("redis://127.0.0.1:1") as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert b"" == await reader.read()
        writer.close()
