"""Tests of the lifespan: a process that another ASGI server runs reports itself."""

import pytest
from asgiref.testing import ApplicationCommunicator

from pillarbox.asgi import application
from pillarbox.models import Process
from tests.communicators import in_thread
from tests.waiting import PATIENCE, wait_until


@pytest.mark.django_db(transaction=True)
async def test_a_process_reports_itself_from_its_start_to_its_end():
    """
    The report is there after the server's start, and withdrawn at its end.
    """
    server = ApplicationCommunicator(application, {"type": "lifespan"})
    await server.send_input({"type": "lifespan.startup"})
    assert {"type": "lifespan.startup.complete"} == await server.receive_output(PATIENCE)
    reports = Process.objects.filter(kind="daphne")
    await in_thread(wait_until, reports.all().exists, "the process reports itself")
    report = await in_thread(reports.get)
    assert (0, 0) == (report.facts["sockets"], report.facts["subscriptions"])
    await server.send_input({"type": "lifespan.shutdown"})
    assert {"type": "lifespan.shutdown.complete"} == await server.receive_output(PATIENCE)
    assert not await in_thread(reports.all().exists)
    await server.wait(PATIENCE)
