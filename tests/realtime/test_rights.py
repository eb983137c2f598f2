"""Who loses a right stops receiving at once, where the ORM sees it."""

import json

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from rest_framework.authtoken.models import Token

from apps.outbox.models import NotificationOutbox
from apps.realtime import grants
from apps.realtime.grants import rights_stream
from apps.realtime.rounds import rounds
from apps.tickets.models import Project
from tests.realtime.losing import cookie_of, reauthorise, remove
from tests.sockets import (
    collection,
    connected,
    database_away,
    drain,
    in_thread,
    rename,
    signed_in,
    subject,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]


def remove_from_the_user(project, user):
    user.projects.clear()


def delete_the_row(project, user):
    Project.members.through.objects.filter(user=user).delete()


class TestAtOnce:
    """What the ORM does is announced, in the same transaction, on a stream of the user's own."""

    @pytest.mark.parametrize("how", [remove, remove_from_the_user, delete_the_row])
    async def test_a_member_who_is_removed_is_told_and_sees_nothing_more(
        self, demo, project, ticket, how
    ):
        """
        Each subscription ends with a reason; what comes after it doesn't arrive.
        """
        async with signed_in(demo) as socket:
            for about in (subject(ticket), collection(project), {"object_type": "me", "id": "me"}):
                await socket.ask(about)
            await in_thread(how, project, demo)
            await drain()
            for _ in range(2):
                end = await socket.receive()
                assert ("unsubscribed", "revoked") == (end["type"], end["reason"])
                assert end["resubscribe"] is False
            await rename(ticket, "Secret")
            assert await socket.silent(demo)
            assert "not_found" == (await socket.ask(subject(ticket)))["code"]

    async def test_others_keep_theirs(self, demo, other, admin, project, ticket):
        """
        Who is still a member is asked nothing, and told nothing of rights.
        """
        await in_thread(project.members.add, other)
        async with signed_in(other) as socket:
            await socket.ask(subject(ticket))
            await in_thread(remove, project, demo)
            await rename(ticket, "Changed")
            assert "UPDATE_TICKET" == (await socket.receive())["type"]

    @pytest.mark.parametrize("how", ["disable", "update", "password", "delete", "token"])
    async def test_who_may_not_come_in_any_more_is_put_out(self, demo, ticket, how):
        """
        A disabled user, a deleted one, one whose token is revoked: the socket ends with 4401.
        """
        user = await in_thread(get_user_model().objects.get, pk=demo.pk)
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(_put_out, user, how)
            await drain()
            if how == "password":  # a token doesn't depend on it
                assert await socket.silent(demo)
            else:
                assert 4401 == await socket.closed()

    async def test_a_session_ends_with_its_password(self, demo):
        """
        The password of a session's user changes: whoever came in by the old one leaves.
        """
        _, headers = await cookie_of(demo)
        async with connected(headers) as socket:
            await socket.receive()
            await in_thread(_put_out, demo, "password")
            await drain()
            assert 4401 == await socket.closed()

    async def test_a_logout_ends_the_sockets_of_its_session(self, demo):
        """
        Those of another browser stay.
        """
        client, headers = await cookie_of(demo)
        _, other_headers = await cookie_of(demo)
        async with connected(headers) as socket, connected(other_headers) as elsewhere:
            for each in (socket, elsewhere):
                assert "hello" == (await each.receive())["type"]
            await in_thread(client.logout)
            await drain()
            assert 4401 == await socket.closed()
            assert await elsewhere.silent(demo)

    async def test_a_session_is_not_named(self, demo):
        """
        The row of a logout doesn't hold what would open the door.
        """
        client, headers = await cookie_of(demo)
        await in_thread(client.logout)
        stream = rights_stream(demo.pk)
        payload = await in_thread(lambda: NotificationOutbox.objects.get(stream=stream).payload)
        key = headers[0][1].decode().partition("=")[2]
        assert key not in json.dumps(payload)

    async def test_a_login_announces_nothing(self, demo, ticket):
        """
        Nor does a new user, a new member, or a visitor who logs out.
        """
        await cookie_of(demo)
        await in_thread(Client().get, "/admin/logout/")
        await in_thread(lambda: Client().logout())
        assert not await in_thread(NotificationOutbox.objects.filter(object_type="rights").exists)

    async def test_nobody_can_subscribe_to_it(self, demo):
        """
        It is no type that clients know.
        """
        async with signed_in(demo) as socket:
            answer = await socket.ask({"object_type": "rights", "id": "x"})
        assert {"object_type"} == set(answer["errors"])

    async def test_with_the_database_away_the_next_round_asks(self, demo, project, ticket):
        """
        What couldn't be looked up is looked up again.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(remove, project, demo)
            async with database_away():
                await reauthorise()
                assert {-1} == {each.rights_offset for each in rounds().sockets}
                assert await socket.answers()
            await rounds().check_positions()
            assert "revoked" == (await socket.receive())["reason"]


def _put_out(user, how):
    if how == "delete":
        user.delete()
    elif how == "token":
        Token.objects.filter(user=user).delete()
    elif how == "update":
        get_user_model().objects.filter(pk=user.pk).update(is_active=False)
    elif how == "disable":
        user.is_active = False
        user.save()
    else:
        user.set_password("another")
        user.save()


def test_without_tokens_there_are_none_to_watch(settings):
    """
    A site that has only sessions needs no table of tokens.
    """
    tables = ["auth_user", "auth_user_groups", "auth_user_user_permissions"]
    assert [*tables, "authtoken_token"] == watched_tables()
    settings.INSTALLED_APPS = [a for a in settings.INSTALLED_APPS if not a.endswith("authtoken")]
    assert tables == watched_tables()


def watched_tables():
    return [announcer.model._meta.db_table for announcer in grants.announcers()]
