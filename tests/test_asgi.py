"""Tests of the ready-made ASGI application, and of our route in a project's own stack of middleware."""

import logging

import pytest
from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.testing import HttpCommunicator, WebsocketCommunicator

from pillarbox.asgi import application
from pillarbox.close_codes import CloseCode
from pillarbox.routing import websocket_urlpatterns
from tests.communicators import reads_have_ended, token_of
from tests.sockets.losing import cookie_of
from tests.waiting import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/ws/notifications/"
OURS, FOREIGN = (b"origin", b"http://localhost"), (b"origin", b"http://evil.example")
#: Without middleware, as in the ready-made application; and in the stack of Channels' documentation.
STACKS = (
    application,
    AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
)


async def outcome(stack, headers, scope=()):
    """Return the first message to a client with these headers: a frame's text, or the code of a close."""
    communicator = WebsocketCommunicator(stack, PATH, headers=headers)
    communicator.scope |= dict(scope)
    accepted, code = await communicator.connect(PATIENCE)
    if accepted:
        message = await communicator.receive_output(PATIENCE)
        code = message.get("code") or message["text"]
    await communicator.disconnect(timeout=PATIENCE)
    await reads_have_ended()
    return code


@pytest.mark.parametrize("stack", STACKS)
class TestStacks:
    async def test_a_session_opens_a_socket(self, stack, demo):
        """
        A session and an origin of this site suffice.
        """
        _, headers = await cookie_of(demo)
        assert "hello" in await outcome(stack, headers)

    async def test_a_token_opens_a_socket(self, stack, demo):
        """
        A token suffices, though Channels' middleware doesn't know it.
        """
        assert "hello" in await outcome(stack, [OURS, *await token_of(demo)])

    async def test_without_credentials(self, stack, db):
        """
        The client's socket ends with a code.
        """
        assert CloseCode.NOT_AUTHENTICATED == await outcome(stack, [OURS])

    async def test_the_user_of_the_scope_counts(self, stack, demo):
        """
        An outer middleware may have set it.
        """
        assert "hello" in await outcome(stack, [OURS], {"user": demo})

    async def test_a_session_from_another_site(self, stack, demo):
        """
        A foreign page can't use its visitor's session.
        """
        _, (cookie, _) = await cookie_of(demo)
        assert await outcome(stack, [cookie, FOREIGN]) in {CloseCode.ORIGIN_REFUSED, 1000}


async def test_a_token_needs_no_origin(demo):
    """
    Programs send none. The ready-made application serves them, and the validator of origins doesn't.
    """
    bare, stacked = [await outcome(stack, await token_of(demo)) for stack in STACKS]
    assert "hello" in bare
    assert 1000 == stacked


async def test_a_wrong_path_is_refused(caplog):
    """
    The handshake is refused, without an exception.
    """
    accepted, _ = await WebsocketCommunicator(application, "/ws/elsewhere/").connect(PATIENCE)
    assert not accepted
    assert [] == [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_pages_are_served(db):
    """
    Requests over HTTP are answered by Django.
    """
    communicator = HttpCommunicator(application, "GET", "/healthz")
    answer = await communicator.get_response(PATIENCE)
    await communicator.wait(PATIENCE)
    assert (200, b'{"alive": true}') == (answer["status"], answer["body"])
