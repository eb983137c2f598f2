"""Each kind of end of a right: rows committed with it, or after it, aren't shown, whichever arrives first."""

from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from rest_framework.authtoken.models import Token

from apps.tickets.live import ProjectType, TicketType
from apps.tickets.models import Project, Ticket
from pillarbox.capture.announce import announce, rights_changed
from tests.communicators import (
    check_twice,
    collection,
    connected,
    drain,
    in_thread,
    lose,
    subject,
    token_of,
)
from tests.registration import registered
from tests.sockets.drawn_clients import deliver_without_ends
from tests.sockets.losing import cookie_of, remove

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]

SECRET = "Secret"


class OfGroup(TicketType):
    """A type whose tickets are visible to the members of a group."""

    def visible_to(self, user):
        is_reader = user.groups.filter(name="readers").exists()
        return Ticket.objects.all() if is_reader else Ticket.objects.none()


class OfPermission(TicketType):
    """A type whose tickets are visible with a permission, which Django caches in each user instance."""

    def visible_to(self, user):
        may_view = user.has_perm("tickets.view_ticket")
        return Ticket.objects.all() if may_view else Ticket.objects.none()


class Named(ProjectType):
    """A type of projects that are visible only while they have a certain name."""

    visibility_fields = ("name",)

    def visible_to(self, user):
        return Project.objects.filter(name="Website")


class InNamed(TicketType):
    def visible_to(self, user):
        return Ticket.objects.filter(project__name="Website")


OUTSIDE = {"marked": False}


class OutOfSight(TicketType):
    """A type whose tickets are visible by a rule outside the database, which no trigger can see."""

    def visible_to(self, user):
        return Ticket.objects.none() if OUTSIDE["marked"] else Ticket.objects.all()


@dataclass(frozen=True)
class Kind:
    """One way in which a right ends."""

    #: Called with the user, the project and the ticket.
    end: object
    back: object = None
    setup: object = lambda user, project, ticket: None
    types: tuple = ()
    #: True if the end closes the socket, and not only subscriptions.
    closes: bool = False
    by_cookie: bool = False
    about: tuple = field(default=("ticket", "project"))


def become_reader(user, project, ticket):
    user.groups.add(Group.objects.get_or_create(name="readers")[0])


def get_permission(user, project, ticket):
    user.user_permissions.add(Permission.objects.get(codename="view_ticket"))


def get_permission_by_group(user, project, ticket):
    group, _ = Group.objects.get_or_create(name="viewers")
    group.permissions.add(Permission.objects.get(codename="view_ticket"))
    user.groups.add(group)


def of_users(**values):
    return lambda user, *_: type(user).objects.filter(pk=user.pk).update(**values)


def change_password(user, *_):
    user.set_password("another")
    user.save()


def delete_token(user, *_):
    Token.objects.filter(user=user).delete()


def delete_sessions(*_):
    Session.objects.all().delete()


def move(user, project, ticket):
    elsewhere, _ = Project.objects.get_or_create(name="Elsewhere")
    Ticket.objects.filter(pk=ticket.pk).update(project=elsewhere)


def move_back(user, project, ticket):
    Ticket.objects.filter(pk=ticket.pk).update(project=project)


def rename_project(name):
    return lambda user, project, ticket: Project.objects.filter(pk=project.pk).update(name=name)


def use_key_again(user, project, ticket):
    """Delete the project, and create another one with the same key, to which the ticket then belongs."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM tickets_project_members WHERE project_id = %s", [project.pk])
        cursor.execute("DELETE FROM tickets_project WHERE id = %s", [project.pk])
        Project.objects.create(pk=project.pk, name="Another")


def mark(user, *_):
    OUTSIDE["marked"] = True
    rights_changed(user)


def unmark(user, *_):
    OUTSIDE["marked"] = False


KINDS = {
    "removed": Kind(
        end=lambda user, project, ticket: remove(project, user),
        back=lambda user, project, ticket: project.members.add(user),
    ),
    "group lost": Kind(
        types=(OfGroup,),
        setup=become_reader,
        end=lambda user, *_: user.groups.clear(),
        back=become_reader,
        about=("ticket",),
    ),
    "group deleted": Kind(
        types=(OfGroup,),
        setup=become_reader,
        end=lambda *_: Group.objects.all().delete(),
        back=become_reader,
        about=("ticket",),
    ),
    "permission lost": Kind(
        types=(OfPermission,),
        setup=get_permission,
        end=lambda user, *_: user.user_permissions.clear(),
        back=get_permission,
        about=("ticket",),
    ),
    "permission of a group lost": Kind(
        types=(OfPermission,),
        setup=get_permission_by_group,
        end=lambda *_: Group.objects.get(name="viewers").permissions.clear(),
        back=get_permission_by_group,
        about=("ticket",),
    ),
    "disabled": Kind(end=of_users(is_active=False), back=of_users(is_active=True), closes=True),
    "deleted": Kind(end=lambda user, *_: user.delete(), closes=True),
    "password": Kind(end=change_password, closes=True, by_cookie=True),
    "token": Kind(end=delete_token, closes=True),
    "session": Kind(end=delete_sessions, closes=True, by_cookie=True),
    "moved": Kind(end=move, back=move_back, about=("ticket",)),
    "owner moved": Kind(
        types=(Named, InNamed), end=rename_project("Hidden"), back=rename_project("Website")
    ),
    "key used again": Kind(end=use_key_again),
    "said by the project": Kind(types=(OutOfSight,), end=mark, back=unmark, about=("ticket",)),
}


@pytest.fixture(params=KINDS)
def kind(request, demo, project, ticket):
    """A kind of end of demo's right to see the ticket."""
    chosen = KINDS[request.param]
    OUTSIDE["marked"] = False
    with ExitStack() as stack:
        if chosen.types:
            stack.enter_context(registered(*chosen.types))
        chosen.setup(demo, project, ticket)
        yield chosen


def write_secret(ticket):
    Ticket.objects.filter(pk=ticket.pk).update(title=SECRET)


def end_and_change(kind, demo, project, ticket):
    with transaction.atomic():
        kind.end(demo, project, ticket)
        write_secret(ticket)


def end_then_change(kind, demo, project, ticket):
    kind.end(demo, project, ticket)
    write_secret(ticket)


async def headers_of(kind, user):
    return (await cookie_of(user))[1] if kind.by_cookie else await token_of(user)


async def followed(socket, kind, project, ticket):
    """Subscribe to the streams of a kind; return the subscribe requests that would resume them."""
    assert "hello" == (await socket.receive())["type"]
    abouts = {"ticket": subject(ticket), "project": collection(project)}
    answers = [await socket.ask(abouts[name]) for name in kind.about]
    return [
        {**abouts[name], "since": {"epoch": answer["epoch"], "offset": answer["offset"]}}
        for name, answer in zip(kind.about, answers, strict=True)
    ]


async def arrived_frames(socket, kind):
    """Return all frames that have arrived. If the kind closes the socket, wait for that instead."""
    if kind.closes:
        assert 4401 == await socket.closed()
        return []
    frames = []
    await socket.send({"action": "ping", "ref": 1})
    while (frame := await socket.receive())["type"] != "pong":
        frames.append(frame)
    return frames


def notifications(frames):
    """Return the frames that are notifications with a ticket's content."""
    return [frame for frame in frames if frame["type"] in ("CREATE_TICKET", "UPDATE_TICKET")]


@pytest.mark.parametrize("order", [end_and_change, end_then_change])
@pytest.mark.parametrize("way", [deliver_without_ends, drain, check_twice])
async def test_rows_committed_with_or_after_the_end_are_not_shown(
    settings, demo, project, ticket, kind, order, way
):
    """
    Only the change is delivered, or the end as well, or neither is and the position check finds both.
    """
    await drain()
    async with connected(await headers_of(kind, demo)) as socket:
        await followed(socket, kind, project, ticket)
        await in_thread(order, kind, demo, project, ticket)
        if way is check_twice:
            await lose(settings)
        await way()
        frames = await arrived_frames(socket, kind)
        assert [] == notifications(frames)
        assert SECRET not in str(frames)


async def test_a_snapshot_needs_the_right(demo, project, ticket, kind):
    """
    No message has arrived yet, and Django caches permissions in the socket's user.
    """
    await drain()
    async with connected(await headers_of(kind, demo)) as socket:
        await followed(socket, kind, project, ticket)
        about = {"project": collection(project), "ticket": subject(ticket)}[kind.about[-1]]
        await socket.ask({"action": "unsubscribe", **about})
        await in_thread(end_then_change, kind, demo, project, ticket)
        await socket.send({**about, "snapshot": True})
        assert SECRET not in str(await arrived_frames(socket, kind))


async def test_announcements_to_the_user_are_shown(demo, project, ticket):
    """
    No other right is needed for them. They are sent with the end of a right, too, and to clients that resume.
    """

    def remove_and_announce():
        with transaction.atomic():
            project.members.remove(demo)
            announce(demo, "REMOVED", {})

    await drain()
    me = {"object_type": "me", "id": "me"}
    async with connected(await token_of(demo)) as socket:
        await socket.receive()
        answer = await socket.ask(me)
        await in_thread(remove_and_announce)
        await drain()
        assert "REMOVED" == (await socket.receive())["type"]
    since = {"epoch": answer["epoch"], "offset": answer["offset"]}
    async with connected(await token_of(demo)) as socket:
        await socket.receive()
        assert (await socket.ask({**me, "since": since}))["recovered"]
        assert "REMOVED" == (await socket.receive())["type"]


async def test_announcements_to_a_deleted_user_of_the_same_key_are_not_shown(demo):
    """
    A new user has got the primary key of a deleted one.
    """

    def use_key_again():
        model, key = type(demo), demo.pk
        announce(demo, "LATE", {})
        demo.delete()
        return model.objects.create_user("another", pk=key)

    await drain()
    me = {"object_type": "me", "id": "me"}
    await in_thread(announce, demo, "EARLY", {})
    await drain()
    another = await in_thread(use_key_again)
    async with connected(await token_of(another)) as socket:
        await socket.receive()
        answer = await socket.ask(me)
        assert 1 == answer["offset"]
    since = {"epoch": answer["epoch"], "offset": 0}
    async with connected(await token_of(another)) as socket:
        await socket.receive()
        assert not (await socket.ask({**me, "since": since}))["recovered"]
        await drain()
        # What is hidden ends the continuity, at the stream's head of that moment.
        assert "resynced" == (await socket.receive())["type"]
        await in_thread(announce, another, "NEW", {})
        await drain()
        assert "NEW" == (await socket.receive())["type"]


@pytest.mark.parametrize("kind", [n for n in KINDS if KINDS[n].back], indirect=True)
async def test_rows_committed_before_the_right_began_again_are_not_shown(
    demo, project, ticket, kind
):
    """
    A user who has the right again before the access check is resynced, and then receives later changes.
    """
    await drain()
    async with connected(await headers_of(kind, demo)) as socket:
        await followed(socket, kind, project, ticket)
        await in_thread(end_and_change, kind, demo, project, ticket)
        await in_thread(kind.back, demo, project, ticket)
        await deliver_without_ends()
        frames = []
        while len(kind.about) > [frame["type"] for frame in frames].count("resynced"):
            frames.append(await socket.receive())
        assert [] == notifications(frames)
        await in_thread(Ticket.objects.filter(pk=ticket.pk).update, title="After")
        await drain()
        # A pong may overtake them, since they come by way of Redis.
        shown = notifications([await socket.receive() for _ in kind.about])
        shown += notifications(await arrived_frames(socket, Kind(end=None)))
        assert ["After"] * len(kind.about) == [frame["payload"]["title"] for frame in shown]


@pytest.mark.parametrize("kind", [n for n in KINDS if KINDS[n].back], indirect=True)
async def test_no_position_is_resumed_across_an_end(demo, project, ticket, kind):
    """
    A client that resumes from a position before the end isn't recovered.
    """
    await drain()
    async with connected(await headers_of(kind, demo)) as socket:
        requests = await followed(socket, kind, project, ticket)
    await in_thread(end_and_change, kind, demo, project, ticket)
    await in_thread(kind.back, demo, project, ticket)
    await drain()
    async with connected(await headers_of(kind, demo)) as socket:
        await socket.receive()
        answers = [await socket.ask(request) for request in requests]
    assert {False} == {answer["recovered"] for answer in answers}
