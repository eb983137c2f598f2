"""Tests of the metrics, probes and logs of real processes."""

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import psutil
import pytest
import websockets
from rest_framework.authtoken.models import Token

from pillarbox.models import NotificationOutbox
from pillarbox.types import hashids
from tests.bare_sockets import BareSocket
from tests.communicators import in_thread, subject
from tests.metrics import scraped
from tests.ports import free_port
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.django_db(transaction=True)
CHANGES = 20
OUTCOMES = ("rung", "ringing", "silent")


def get(port, path):
    """Return the status and the body of a process's answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.fixture
def rename(site, ticket, demo):
    """Return a function that changes a ticket's title over REST, in a request with a given id."""
    token = Token.objects.create(user=demo)
    public_id = hashids.encode("ticket", ticket.pk)

    def rename(title, request_id=""):
        request = urllib.request.Request(
            f"http://127.0.0.1:{site.port}/api/tickets/{public_id}/",
            json.dumps({"title": title}).encode(),
            {
                "Authorization": f"Token {token.key}",
                "Content-Type": "application/json",
                "X-Request-ID": request_id,
            },
            method="PATCH",
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.headers["X-Request-ID"]

    return rename


@asynccontextmanager
async def following(site, ticket, demo):
    """Open a socket that is subscribed to a ticket."""
    token = await in_thread(Token.objects.get, user=demo)
    async with websockets.connect(
        f"ws://127.0.0.1:{site.daphne_port}/ws/notifications/",
        additional_headers={"Authorization": f"Token {token.key}"},
    ) as client:
        await client.send(json.dumps(subject(ticket)))
        for kind in ("hello", "subscribed"):
            assert kind == json.loads(await client.recv())["type"]
        yield client


async def receive(client):
    async with asyncio.timeout(PATIENCE):
        return json.loads(await client.recv())


def wake_ups(port):
    shown = scraped(port)
    return sum(shown[f'notifier_bells_total{{outcome="{outcome}"}}'] for outcome in OUTCOMES)


def kill_children(process, least):
    """Kill the children of a process, and wait until it has as many new ones."""
    parent = psutil.Process(process.pid)
    old = parent.children()
    for child in old:
        child.kill()
    wait_until(lambda: len(set(parent.children()) - set(old)) >= least, "it has new children")


@pytest.mark.usefixtures("published")
async def test_counts_are_exact(site, ticket, demo, rename):
    """
    Two web processes, two children of a worker, and Daphne count exactly. Counts of killed children stay.
    """
    worker_port = free_port()
    site.environment |= {
        "WEB_CONCURRENCY": "2",
        "WORKER_CONCURRENCY": "2",
        "WORKER_METRICS_PORT": str(worker_port),
    }
    # On a slow machine Redis may not answer a wake-up in time. Then the sweep finds the rows.
    await asyncio.to_thread(site.start, "web", "worker", "beat", "daphne")

    def relayed():
        shown = scraped(worker_port)
        return [shown[f"notifier_rows_{outcome}_total"] for outcome in ("captured", "published")]

    async def change(titles):
        with ThreadPoolExecutor(8) as threads:
            await asyncio.gather(
                *(asyncio.wrap_future(threads.submit(rename, title)) for title in titles)
            )
        for _ in titles:
            await receive(client)

    async with following(site, ticket, demo) as client:
        await change([f"Change {number}" for number in range(CHANGES)])
        rows = await in_thread(NotificationOutbox.objects.filter(event="UPDATE_TICKET").count)
        assert CHANGES == wake_ups(site.port)
        wait_until(lambda: [rows, rows] == relayed(), "the worker has settled all")
        live = scraped(site.daphne_port)
        assert [1, 1, CHANGES, 1] == [
            live[f"notifier_{name}"]
            for name in ("sockets", "subscriptions", "deliveries_total", "channel_layer_up")
        ]
        assert CHANGES == live["notifier_delivery_delay_seconds_count"]
        assert (1, 0) == (live["notifier_database_up"], live["notifier_backlog_rows"])
        assert rows == scraped(worker_port)["notifier_publish_delay_seconds_count"]

        for name in ("web", "worker"):
            await asyncio.to_thread(kill_children, site.running[name], 2)
        assert CHANGES == wake_ups(site.port)
        assert [rows, rows] == relayed()
        await change(["After it"])
        assert CHANGES + 1 == wake_ups(site.port)
        wait_until(lambda: relayed()[0] > rows, "the new children count, too")
    ended = 'notifier_sockets_closed_total{code="1000"}'
    wait_until(lambda: scraped(site.daphne_port)[ended] == 1, "its end is counted")
    assert 0 == scraped(site.daphne_port)["notifier_sockets"]


@pytest.mark.usefixtures("published")
async def test_a_mark_finds_a_change_in_every_log(site, ticket, demo, rename):
    """
    The request's log line has its id and the mark of its events. All later lines have the mark, down to the
    frame's.
    """
    site.environment |= {"LOG_FORMAT": "json", "LOG_LEVEL": "DEBUG"}
    await asyncio.to_thread(site.start, "web", "worker", "daphne")
    async with following(site, ticket, demo) as client:
        assert "order-4711" == await asyncio.to_thread(rename, "Traced", "order-4711")
        frame = await receive(client)
    (request,) = lines(site, "web", '"pillarbox_request_id": "order-4711"', action="request")
    mark = request["pillarbox_events"]
    assert frame["event_id"].startswith(mark)
    streams = {f"ticket:{ticket.pk}", f"project.tickets:{ticket.project_id}"}
    wait_until(
        lambda: (
            streams
            == {one["pillarbox_stream"] for one in lines(site, "worker", mark, action="published")}
        ),
        "the worker has logged both rows",
    )
    wait_until(
        lambda: lines(site, "daphne", mark, action="forwarded"), "daphne has logged the frame"
    )
    found = NotificationOutbox.objects.filter(event_id__startswith=mark)
    assert streams == set(await in_thread(lambda: list(found.values_list("stream", flat=True))))


def lines(site, name, text, *, action):
    """Return the lines of a log that have a text, and are about an action."""
    found = re.findall(rf"^{{.*{re.escape(text)}.*}}$", site.log(name), re.MULTILINE)
    return [line for line in map(json.loads, found) if line.get("pillarbox_action") == action]


def test_without_a_database_probes_are_answered(site):
    """
    The database accepts connections and never answers. Probes are answered soon: alive, but not ready.
    """
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        site.environment["DATABASE_URL"] = f"postgresql://nobody@127.0.0.1:{port}/nothing"
        site.start("web", "daphne")
        for server in (site.port, site.daphne_port):
            assert 0 == scraped(server)["notifier_database_up"]
            assert (200, {"alive": True}) == asked(server, "/healthz")
            status, found = asked(server, "/readyz")
            assert (503, "away") == (status, found["database"])


def asked(port, path):
    status, text = get(port, path)
    return status, json.loads(text)


@pytest.mark.usefixtures("published")
def test_a_stopping_daphne_is_not_ready(site, demo):
    """
    A stopping Daphne refuses new sockets. A balancer that keeps a connection open receives "not ready" on it.
    """
    token = Token.objects.create(user=demo)
    site.start("daphne")
    balancer = http.client.HTTPConnection("127.0.0.1", site.daphne_port, timeout=PATIENCE)
    balancer.request("GET", "/readyz")
    answer = balancer.getresponse()
    assert (200, True) == (answer.status, json.loads(answer.read())["ready"])
    authorization = {"Authorization": f"Token {token.key}"}
    with BareSocket(site.daphne_port, "/ws/notifications/", **authorization) as client:
        next(client.frames())  # a client that doesn't answer the close, so that Daphne waits
        os.kill(site.running["daphne"].pid, signal.SIGTERM)
        status = 200
        while status == 200:
            balancer.request("GET", "/readyz")
            answer = balancer.getresponse()
            status, found = answer.status, json.loads(answer.read())
    balancer.close()
    assert (503, True) == (status, found["stopping"])
