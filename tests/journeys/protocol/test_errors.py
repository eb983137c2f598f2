"""Tests of commands that are refused."""

import asyncio

import pytest

from apps.tickets.models import Ticket
from tests.communicators import (
    collection,
    database_away,
    drain,
    in_thread,
    rename,
    rename_table,
    subject,
)
from tests.journeys.protocol.clients import LIMITS, OWN

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


class TestErrors:
    async def test_each_answers_its_command(self, enter, demo, other, ticket, project):
        """
        Each entry of a command has its own error. Details are DRF's. Temporary errors are marked as such.
        """
        answers = {}
        async with enter(demo) as client:
            for raw in ("[", "[]", b"{}"):
                await client.socket.send(raw)
                answers["malformed"] = await client.receive()
                await client.ask({"action": "ping"})  # ends the run of malformed commands
            answers["invalid"] = await client.ask({"ref": 7, "object_type": "ticket"})
            entries = [{}, subject(ticket), 3, {"object_type": "ghost", "id": "x"}]
            await client.send({"ref": 8, "subscriptions": entries})
            several = [await client.receive() for _ in entries]
            async with database_away("daphne"):
                answers["unavailable"] = await client.ask({"ref": 9, **collection(project)})
            await in_thread(rename_table, "pillarbox_stream", "gone")
            answers["internal"] = await client.ask({"ref": 10, **collection(project)})
            await in_thread(rename_table, "gone", "pillarbox_stream")
            assert "subscribed" == (await client.ask(collection(project)))["type"]
        async with enter(other) as client:
            answers["not_found"] = await client.ask({"ref": "n", **subject(ticket)})
        details = {code: answer.pop("detail") for code, answer in answers.items()}
        assert all(details.values())
        error = {"type": "error", "temporary": False}
        assert {
            "malformed": {**error, "code": "malformed"},
            "invalid": {
                **error,
                "ref": 7,
                "code": "invalid",
                "errors": {"id": ["This field is required."]},
            },
            "unavailable": {**error, "ref": 9, "code": "unavailable", "temporary": True},
            "internal": {**error, "ref": 10, "code": "internal"},
            "not_found": {**error, "ref": "n", "code": "not_found"},
        } == answers
        assert [("invalid", 0), (None, 1), ("invalid", 2), ("invalid", 3)] == [
            (frame.get("code"), frame["index"]) for frame in several
        ]
        assert {8} == {frame["ref"] for frame in several}

    async def test_the_limit_of_subscriptions(self, enter, demo, project, ticket):
        """
        A subscription beyond the limit is refused; the others continue.
        """
        tickets = [
            await in_thread(Ticket.objects.create, project=project, title=title) for title in "abcd"
        ]
        await drain()
        async with enter(demo) as client:
            for one in (ticket, *tickets):
                assert "subscribed" == (await client.ask(subject(one)))["type"]
            answer = await client.ask(OWN)
            assert ("limit", False) == (answer["code"], answer["temporary"])
            await rename(ticket, "Still there")
            assert "Still there" == (await client.receive())["payload"]["title"]

    async def test_a_client_that_obeys_the_rate_limit(self, enter, demo):
        """
        The error has the time to wait. A client that waits so long is answered.
        """
        async with enter(demo) as client:
            answers = [{}]
            while "code" not in answers[-1]:
                answers.append(await client.ask({"action": "ping", "ref": len(answers)}))
            *_, refusal = answers
            assert ("rate_limited", len(answers) - 1, True) == tuple(
                refusal[key] for key in ("code", "ref", "temporary")
            )
            assert len(answers) > LIMITS["SUBSCRIPTIONS"] + LIMITS["COMMANDS_PER_SECOND"]
            await asyncio.sleep(refusal["retry_after_ms"] / 1000)  # the delay in the error
            assert {"type": "pong"} == await client.ask({"action": "ping"})
