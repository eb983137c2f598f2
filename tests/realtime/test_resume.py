"""A client that comes back with its position gets what it missed, whole, or is told that it can't."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from django.db import connection

from apps.outbox.models import NotificationOutbox, Stream
from apps.realtime import hashids
from apps.realtime.rights import Ruling
from apps.realtime.rounds import rounds
from apps.tickets.live import ProjectType, TicketType
from apps.tickets.models import Project, Ticket
from tests.database import accept_connections, refuse_connections
from tests.law import number_all
from tests.sockets import (
    collection,
    database_away,
    drain,
    in_thread,
    lose,
    registered,
    rename,
    signed_in,
    subject,
    write,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


def position(frame):
    return {"epoch": frame["epoch"], "offset": frame["offset"]}


async def where(user, about):
    """Return a position of a socket that is gone again."""
    async with signed_in(user) as socket:
        return position(await socket.ask(about))


async def missed(ticket, count):
    for number in range(count):
        await write(ticket, f"Number {number}")
    await drain()


class TestRecovered:
    async def test_what_was_missed_follows(self, demo, ticket):
        """
        The answer says that it is whole, and where it begins; then come the notifications, then what is new.
        """
        since = await where(demo, subject(ticket))
        await missed(ticket, 3)
        async with signed_in(demo) as socket:
            answer = await socket.ask({**subject(ticket), "since": since, "ref": 1})
            assert {
                "type": "subscribed",
                "ref": 1,
                **subject(ticket),
                **since,
                "recovered": True,
            } == (answer)
            frames = [await socket.receive() for _ in range(3)]
            assert [2, 3, 4] == [frame["offset"] for frame in frames]
            assert "Number 2" == frames[-1]["payload"]["title"]
            await rename(ticket, "New")
            assert 5 == (await socket.receive())["offset"]

    async def test_twice_in_a_row(self, demo, ticket):
        """
        Who loses the socket again resumes from where the last one stood.
        """
        since = await where(demo, subject(ticket))
        seen = []
        for _ in range(2):
            await missed(ticket, 2)
            async with signed_in(demo) as socket:
                await socket.ask({**subject(ticket), "since": since})
                seen += [await socket.receive() for _ in range(2)]
                since = position(seen[-1])
        assert [2, 3, 4, 5] == [frame["offset"] for frame in seen]

    async def test_of_nothing(self, demo, ticket):
        """
        Who has received nothing, and missed nothing, goes on; also at the head of a stream without rows.
        """
        since = await where(demo, subject(ticket))
        own = {"object_type": "me", "id": "me"}
        empty = await where(demo, own)
        assert 0 == empty["offset"]
        async with signed_in(demo) as socket:
            for about, known in ((subject(ticket), since), (own, empty)):
                answer = await socket.ask({**about, "since": known})
                assert (True, known["offset"]) == (answer["recovered"], answer["offset"])
                assert "payload" not in answer

    async def test_thousands_in_pages(self, settings, demo, ticket):
        """
        However many were missed, they come in pages, in order, beside what is new.
        """
        settings.REALTIME = {"CATCH_UP_ROWS": 7}
        since = await where(demo, subject(ticket))
        await missed(ticket, 100)
        async with signed_in(demo) as socket:
            assert (await socket.ask({**subject(ticket), "since": since}))["recovered"]
            await rename(ticket, "New")
            frames = [await socket.receive() for _ in range(101)]
        assert list(range(2, 103)) == [frame["offset"] for frame in frames]

    async def test_with_the_present_state(self, demo, ticket):
        """
        With a snapshot the answer has the object as it is now, and what was missed still follows.
        """
        since = await where(demo, subject(ticket))
        await missed(ticket, 2)
        async with signed_in(demo) as socket:
            answer = await socket.ask({**subject(ticket), "since": since, "snapshot": True})
            assert (True, "Number 1") == (answer["recovered"], answer["payload"]["title"])
            assert [2, 3] == [(await socket.receive())["offset"] for _ in range(2)]

    async def test_two_sockets_of_one_stream(self, demo, ticket):
        """
        Each has what it missed, whatever the other one is at.
        """
        first = await where(demo, subject(ticket))
        await missed(ticket, 2)
        second = await where(demo, subject(ticket))
        await missed(ticket, 2)
        async with signed_in(demo) as one, signed_in(demo) as other:
            await asyncio.gather(
                one.ask({**subject(ticket), "since": first}),
                other.ask({**subject(ticket), "since": second}),
            )
            assert [2, 3, 4, 5] == [(await one.receive())["offset"] for _ in range(4)]
            assert [4, 5] == [(await other.receive())["offset"] for _ in range(2)]

    async def test_a_deletion_of_a_member_is_seen(self, demo, ticket, project):
        """
        In a collection, what was deleted meanwhile is among what was missed.
        """
        since = await where(demo, collection(project))
        await in_thread(ticket.delete)
        await drain()
        async with signed_in(demo) as socket:
            assert (await socket.ask({**collection(project), "since": since}))["recovered"]
            assert "DELETE_TICKET" == (await socket.receive())["type"]

    async def test_a_failed_row_is_skipped(self, demo, ticket):
        """
        The offset of a row that failed is there, without what is in it.
        """
        since = await where(demo, subject(ticket))
        await missed(ticket, 2)
        rows = NotificationOutbox.objects.filter(stream=f"ticket:{ticket.pk}", offset=2)
        await in_thread(
            lambda: rows.update(published_at=None, failed_at="2026-11-22T00:00Z", error_type="E")
        )
        async with signed_in(demo) as socket:
            assert (await socket.ask({**subject(ticket), "since": since}))["recovered"]
            frames = [await socket.receive() for _ in range(2)]
        assert [("skipped", 2), ("UPDATE_TICKET", 3)] == [(f["type"], f["offset"]) for f in frames]

    async def test_what_is_numbered_and_not_published_comes_once(self, demo, ticket):
        """
        What the database knows already is sent, and dropped when it is published.
        """
        since = await where(demo, subject(ticket))
        await write(ticket, "On its way")
        await in_thread(number_all)
        async with signed_in(demo) as socket:
            await socket.ask({**subject(ticket), "since": since})
            assert 2 == (await socket.receive())["offset"]
            await rename(ticket, "After it")
            assert 3 == (await socket.receive())["offset"]


class TestNotRecovered:
    """Nothing old follows; the answer has the present position, and the object as it is now."""

    async def refused(self, user, ticket, since):
        async with signed_in(user) as socket:
            answer = await socket.ask({**subject(ticket), "since": since, "ref": 7})
            await rename(ticket, "New")
            frame = await socket.receive()
            assert answer["offset"] + 1 == frame["offset"]
        assert ("subscribed", False, 7) == (answer["type"], answer["recovered"], answer["ref"])
        return answer

    async def test_pruned(self, demo, ticket):
        """
        One missing row is enough: never a part.
        """
        since = await where(demo, subject(ticket))
        await missed(ticket, 3)
        rows = NotificationOutbox.objects.filter(stream=f"ticket:{ticket.pk}", offset=3)
        await in_thread(rows.delete)
        answer = await self.refused(demo, ticket, since)
        assert (4, "Number 2") == (answer["offset"], answer["payload"]["title"])

    async def test_beyond_the_head(self, demo, ticket):
        """
        An offset that was never given is no position.
        """
        since = await where(demo, subject(ticket))
        answer = await self.refused(demo, ticket, {**since, "offset": 99})
        assert 1 == answer["offset"]

    async def test_another_epoch(self, demo, ticket):
        """
        After a restore the offsets mean something else.
        """
        since = await where(demo, subject(ticket))
        await in_thread(Stream.objects.filter(name=f"ticket:{ticket.pk}").delete)
        answer = await self.refused(demo, ticket, since)
        assert since["epoch"] != answer["epoch"]

    async def test_across_a_move(self, demo, project, ticket):
        """
        What an object was where others may see it is not for those who see it now.
        """
        since = await where(demo, subject(ticket))
        secret = await in_thread(Project.objects.create, name="Secret")
        for owner, title in ((secret, "Hidden"), (project, "Back again")):
            ticket.project, ticket.title = owner, title
            await in_thread(ticket.save)
        await drain()
        answer = await self.refused(demo, ticket, since)
        assert "Back again" == answer["payload"]["title"]

    @pytest.mark.parametrize("about", [subject, collection])
    async def test_across_a_move_of_what_it_is_seen_through(self, demo, project, ticket, about):
        """
        A project that others saw before takes its tickets' history with it.
        """
        with registered(type("Named", (ProjectType,), {"deciding": ("name",)})):
            thing = about(ticket if about is subject else project)
            since = await where(demo, thing)
            await missed(ticket, 1)
            async with signed_in(demo) as socket:
                assert (await socket.ask({**thing, "since": since}))["recovered"]
            await in_thread(_rename_project, project)
            await missed(ticket, 1)
            async with signed_in(demo) as socket:
                assert not (await socket.ask({**thing, "since": since}))["recovered"]
            since = await where(demo, thing)
            await missed(ticket, 1)
            async with signed_in(demo) as socket:
                assert (await socket.ask({**thing, "since": since}))["recovered"]

    async def test_a_collection_comes_in_pages(self, settings, demo, project, ticket):
        """
        In place of one payload, frames with its objects, the last one said to be it.
        """
        settings.REALTIME = {"SNAPSHOT_ROWS": 2}
        for title in "abcd":
            await in_thread(Ticket.objects.create, project=project, title=title)
        await drain()
        async with signed_in(demo) as socket:
            since = {"epoch": "another", "offset": 1}
            answer = await socket.ask({**collection(project), "since": since, "ref": "x"})
            assert (False, 5) == (answer["recovered"], answer["offset"])
            pages = [await socket.receive() for _ in range(3)]
        for page in pages:
            assert {"type": "snapshot", "ref": "x", **collection(project)} == {
                key: page[key] for key in ("type", "ref", "object_type", "id")
            }
        assert [False, False, True] == [page["done"] for page in pages]
        titles = [item["title"] for page in pages for item in page["items"]]
        assert [ticket.title, *"abcd"] == titles

    @pytest.mark.parametrize("is_there", [True, False])
    async def test_what_cannot_be_seen_is_not_found(self, demo, other, ticket, is_there):
        """
        A position opens no door; a deleted object has no history.
        """
        since = await where(demo, subject(ticket))
        about = subject(ticket)
        await missed(ticket, 1)
        if not is_there:
            await in_thread(ticket.delete)
            await drain()
        async with signed_in(other if is_there else demo) as socket:
            answer = await socket.ask({**about, "since": since})
        assert ("error", "not_found") == (answer["type"], answer["code"])


class TestUnshowable:
    """Rows that were published, or failed, and of which nothing can be said any more."""

    async def test_a_type_that_is_gone_is_skipped(self, demo, project, ticket):
        """
        What it announced is no hole, and nobody waits for it.
        """
        since = await where(demo, collection(project))
        await missed(ticket, 1)
        rows = NotificationOutbox.objects.filter(stream=f"project.tickets:{project.pk}")
        await in_thread(lambda: rows.update(object_type="gone"))
        async with signed_in(demo) as socket:
            assert (await socket.ask({**collection(project), "since": since}))["recovered"]
            frame = await socket.receive()
            assert ("skipped", "gone", "") == (frame["type"], frame["object_type"], frame["id"])
            await rename(ticket, "After")
            assert "After" == (await socket.receive())["payload"]["title"]

    async def test_a_key_without_a_public_id_ends_nobodys_socket(self, demo, project, ticket):
        """
        A row that failed for its key is skipped like any other.
        """
        since = await where(demo, collection(project))
        await missed(ticket, 1)
        rows = NotificationOutbox.objects.filter(stream=f"project.tickets:{project.pk}", offset=2)
        values = {"object_id": "-5", "published_at": None, "failed_at": "2026-11-22T00:00Z"}
        await in_thread(lambda: rows.update(**values, error_type="E"))
        async with signed_in(demo) as socket:
            assert (await socket.ask({**collection(project), "since": since}))["recovered"]
            assert "skipped" == (await socket.receive())["type"]


class TestAgain:
    async def test_from_elsewhere_nothing_old_follows(self, settings, demo, ticket):
        """
        In the middle of a catch-up, too: the answer is the present, and what comes is new.
        """
        settings.REALTIME = {"CATCH_UP_ROWS": 1}
        since = await where(demo, subject(ticket))
        await missed(ticket, 5)
        async with signed_in(demo) as socket:
            entry = {**subject(ticket), "since": since}
            await socket.send({"subscriptions": [entry, entry]})
            frames = [await socket.receive() for _ in range(3)]
            assert [True, None, False] == [frame.get("recovered") for frame in frames]
            assert [1, 2, 6] == [frame["offset"] for frame in frames]
            await rename(ticket, "New")
            assert 7 == (await socket.receive())["offset"]

    async def test_subscribing_again_says_whether_it_is_the_same(self, demo, ticket):
        """
        Who follows it already is told where it stands; another position is none to go on from.
        """
        async with signed_in(demo) as socket:
            since = position(await socket.ask(subject(ticket)))
            assert (await socket.ask({**subject(ticket), "since": since}))["recovered"]
            answer = await socket.ask({**subject(ticket), "since": {**since, "offset": 0}})
            assert (False, ticket.title) == (answer["recovered"], answer["payload"]["title"])
            answer = await socket.ask({**subject(ticket), "snapshot": True})
            assert "recovered" not in answer
            assert ticket.title == answer["payload"]["title"]
            await rename(ticket, "Changed")
            assert 2 == (await socket.receive())["offset"]
            assert await socket.silent(demo)

    async def test_what_may_no_longer_be_seen_is_not_shown(self, demo, ticket, project):
        """
        Nor to who follows it still.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(project.members.clear)
            answer = await socket.ask({**subject(ticket), "snapshot": True})
        assert ("error", "not_found") == (answer["type"], answer["code"])

    async def test_with_the_database_away(self, demo, ticket):
        """
        The subscription stays, and the client is asked to try again.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            async with database_away():
                answer = await socket.ask({**subject(ticket), "snapshot": True})
            assert ("unavailable", True) == (answer["code"], answer["temporary"])
            await rename(ticket, "Changed")
            assert 2 == (await socket.receive())["offset"]


class TestSeveral:
    async def test_each_is_answered_in_order(self, demo, ticket, project):
        """
        Good ones and bad ones, new ones and known ones, each with its index.
        """
        missing = {"object_type": "ticket", "id": hashids.encode("ticket", 4711)}
        entries = [subject(ticket), {"id": 1}, missing, collection(project), subject(ticket), 7]
        async with signed_in(demo) as socket:
            await socket.send({"action": "subscribe", "ref": 8, "subscriptions": entries})
            frames = [await socket.receive() for _ in entries]
            await rename(ticket, "Changed")
            changed = [await socket.receive() for _ in range(2)]
        assert list(range(6)) == [frame["index"] for frame in frames]
        assert {8} == {frame["ref"] for frame in frames}
        kinds = ["subscribed", "invalid", "not_found", "subscribed", "subscribed", "invalid"]
        assert kinds == [frame.get("code", frame["type"]) for frame in frames]
        assert {"object_type", "id"} == set(frames[1]["errors"])
        assert {"ticket", "project.tickets"} == {
            frame.get("subscription", frame)["object_type"] for frame in changed
        }

    async def test_with_positions_and_snapshots(self, demo, ticket, project):
        """
        What each one missed follows its own answer.
        """
        since = await where(demo, subject(ticket))
        await missed(ticket, 1)
        entries = [{**subject(ticket), "since": since}, {**collection(project), "snapshot": True}]
        async with signed_in(demo) as socket:
            await socket.send({"subscriptions": entries})
            frames = [await socket.receive() for _ in range(4)]
        kinds = ["subscribed", "UPDATE_TICKET", "subscribed", "snapshot"]
        assert kinds == [frame["type"] for frame in frames]
        assert [0, None, 1, 1] == [frame.get("index") for frame in frames]

    async def test_no_more_than_a_socket_may_have(self, settings, demo, ticket, project):
        """
        The first ones are granted; a command with more than could ever be is refused as a whole.
        """
        settings.REALTIME = {"SUBSCRIPTIONS": 2}
        own = {"object_type": "me", "id": "me"}
        async with signed_in(demo) as socket:
            await socket.ask(own)
            await socket.send({"subscriptions": [subject(ticket), collection(project)]})
            frames = [await socket.receive() for _ in range(2)]
            assert ["subscribed", "limit"] == [f.get("code", f["type"]) for f in frames]
            answer = await socket.ask({"subscriptions": [own] * 3})
            assert ["Expected 2 at most."] == answer["errors"]["subscriptions"]

    async def test_what_is_refused_takes_no_room(self, settings, demo, ticket, project):
        """
        Wherever it stands, and whatever it is refused for; where there is no room nothing is said of it.
        """
        settings.REALTIME = {"SUBSCRIPTIONS": 2}
        missing = {"object_type": "ticket", "id": hashids.encode("ticket", 4711)}
        secret = await in_thread(Project.objects.create, name="Secret")
        async with signed_in(demo) as socket:
            await socket.ask({"object_type": "me", "id": "me"})
            await socket.send({"subscriptions": [missing, subject(ticket)]})
            frames = [await socket.receive() for _ in range(2)]
            assert ["not_found", "subscribed"] == [f.get("code", f["type"]) for f in frames]
            for about in (missing, collection(secret), collection(project)):
                assert "limit" == (await socket.ask(about))["code"]
            await rename(ticket, "Changed")
            assert subject(ticket).items() <= (await socket.receive()).items()
            assert await socket.answers()

    async def test_with_the_database_away(self, demo, ticket):
        """
        Each is answered, and none is left half joined.
        """
        async with signed_in(demo) as socket:
            async with database_away():
                await socket.send({"subscriptions": [subject(ticket), {"id": 1}]})
                codes = [(await socket.receive())["code"] for _ in range(2)]
            assert ["unavailable", "invalid"] == codes
            assert "subscribed" == (await socket.ask(subject(ticket)))["type"]


class Fickle(TicketType):
    """Tickets that are seen at first, and not at a second look."""

    looks = 0

    def visible_to(self, user):
        Fickle.looks += 1
        return super().visible_to(user) if Fickle.looks % 2 else Ticket.objects.none()


class TestSnapshot:
    async def test_what_goes_at_that_moment_is_not_found(self, demo, ticket):
        """
        Between the look whether it may be seen and the look at it.
        """
        with registered(Fickle):
            async with signed_in(demo) as socket:
                answer = await socket.ask({**subject(ticket), "snapshot": True})
                assert "not_found" == answer["code"]
                assert "subscribed" == (await socket.ask(subject(ticket)))["type"]

    async def test_pages_are_bounded_in_bytes(self, settings, demo, project, ticket):
        """
        A page has as much as FRAME_BYTES hold, one object at least, and nothing is left out.
        """
        settings.REALTIME = {"FRAME_BYTES": 1500}
        titles = [letter * 100 for letter in "abcdefgh"]
        for title in titles:
            await in_thread(
                Ticket.objects.create, project=project, title=title, description=title * 4
            )
        await in_thread(
            Ticket.objects.create, project=project, title="Long", description="x" * 9000
        )
        async with signed_in(demo) as socket:
            await socket.ask({**collection(project), "snapshot": True})
            pages = [await socket.receive()]
            while not pages[-1]["done"]:
                pages.append(await socket.receive())
        assert [ticket.title, *titles, "Long"] == [
            item["title"] for page in pages for item in page["items"]
        ]
        assert 4 < len(pages) < 10

    async def test_of_an_empty_collection_is_one_page(self, demo, project, ticket):
        """
        With nothing in it.
        """
        await in_thread(ticket.delete)
        async with signed_in(demo) as socket:
            await socket.ask({**collection(project), "snapshot": True})
            page = await socket.receive()
        assert ([], True) == (page["items"], page["done"])


@asynccontextmanager
async def database_away_once_asked(cls):
    """When an object type has been asked for its permission, the database takes no connections any more."""

    def visible_to(self, user):
        refuse_connections()
        return cls.visible_to(self, user)

    with registered(type(cls.__name__, (cls,), {"visible_to": visible_to})):
        try:
            yield
        finally:
            await in_thread(accept_connections)


class TestInterrupted:
    async def test_a_catch_up_that_cannot_begin_is_refused(self, demo, ticket):
        """
        If the history can't be read, nothing is subscribed, and the client tries again.
        """
        since = await where(demo, subject(ticket))
        await missed(ticket, 1)
        async with signed_in(demo) as socket:
            async with database_away_once_asked(TicketType):
                answer = await socket.ask({**subject(ticket), "since": since})
            assert ("unavailable", True) == (answer["code"], answer["temporary"])
            assert (await socket.ask({**subject(ticket), "since": since}))["recovered"]
            assert 2 == (await socket.receive())["offset"]

    async def test_a_history_that_is_broken_is_said_to_be(self, demo, ticket, caplog):
        """
        That is no outage, which would pass: it is logged, and nobody is asked to try again.
        """
        since = await where(demo, subject(ticket))
        await missed(ticket, 1)
        async with signed_in(demo) as socket:
            await in_thread(_spoil, "payload", "spoilt")
            answer = await socket.ask({**subject(ticket), "since": since})
            await in_thread(_spoil, "spoilt", "payload")
            assert ("internal", False) == (answer["code"], answer["temporary"])
            assert await socket.silent(demo)
        (record,) = [it for it in caplog.records if it.message == "A subscription failed"]
        assert [f"ticket:{ticket.pk}"] == record.streams
        assert record.exc_info

    async def test_unsubscribing_during_a_catch_up_ends_it(self, settings, demo, ticket):
        """
        After the answer nothing of it comes.
        """
        settings.REALTIME = {"CATCH_UP_ROWS": 1}
        since = await where(demo, subject(ticket))
        await missed(ticket, 50)
        async with signed_in(demo) as socket:
            await socket.send({**subject(ticket), "since": since})
            await socket.send({"action": "unsubscribe", **subject(ticket)})
            frame = await socket.receive()
            while frame["type"] != "unsubscribed":
                frame = await socket.receive()
            assert "requested" == frame["reason"]
            assert await socket.silent(demo)

    async def test_unsubscribing_during_a_snapshot_ends_it(self, settings, demo, project, ticket):
        """
        After the answer no page comes.
        """
        settings.REALTIME = {"SNAPSHOT_ROWS": 1}
        for title in "abcdefgh":
            await in_thread(Ticket.objects.create, project=project, title=title)
        async with signed_in(demo) as socket:
            await socket.send({**collection(project), "snapshot": True})
            await socket.send({"action": "unsubscribe", **collection(project)})
            frame = await socket.receive()
            while frame["type"] != "unsubscribed":
                assert not frame.get("done")
                frame = await socket.receive()
            assert await socket.answers()

    async def test_a_catch_up_that_breaks_off_goes_on_later(self, demo, ticket):
        """
        With the database away in the middle, the next occasion finds where it was.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            (served,) = rounds().sockets
            async with database_away():
                served.remind("catch_up", f"ticket:{ticket.pk}")
                assert await socket.answers()
            await rename(ticket, "After")
            assert 2 == (await socket.receive())["offset"]

    async def test_a_ruling_comes_before_the_rest_of_a_page(self, settings, demo, ticket):
        """
        However long a page takes a slow client: first what it may keep, then what is left.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            (served,) = rounds().sockets
            for title in "abc":
                await write(ticket, title)
            await lose(settings)
            (kept,) = served.subscriptions.values()
            served.ruling = Ruling(lost=(kept,))
            served.remind("catch_up", f"ticket:{ticket.pk}")
            served.remind("obey")
            frames = [await socket.receive() for _ in range(2)]
            assert [2, "revoked"] == [frames[0]["offset"], frames[1]["reason"]]
            assert await socket.answers()

    async def test_a_snapshot_that_breaks_off_ends_the_socket(self, demo, project, ticket):
        """
        Half a collection would look like a whole one: the client is to come back.
        """
        async with signed_in(demo) as socket, database_away_once_asked(ProjectType):
            own = {"object_type": "me", "id": "me"}
            entries = [{**collection(project), "snapshot": True}, own]
            await socket.send({"subscriptions": entries})
            assert ["subscribed"] * 2 == [(await socket.receive())["type"] for _ in range(2)]
            assert 4500 == await socket.closed()
            assert await socket.communicator.receive_nothing()


def _rename_project(project):
    project.name = "Another"
    project.save()


def _spoil(old, new):
    """Rename the column of the payloads: what asks for them fails, what doesn't goes on."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE outbox_notificationoutbox RENAME COLUMN {old} TO {new}")
