"""Tests of the system check of the ASGI application."""

import pytest

from pillarbox.checks.asgi import application_serves_sockets

STARTPROJECT = """
from django.core.asgi import get_asgi_application
application = get_asgi_application()
"""
OWN_ROUTER = """
from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application
application = ProtocolTypeRouter({"http": get_asgi_application(), "websocket": ...})
"""
ELSEWHERE = "from their.routing import application"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Return a function that writes a module `shop_asgi`, which can't be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    return lambda source: (tmp_path / "shop_asgi.py").write_text(f"{source}\n1 / 0\n")


def test_the_application_of_startproject_is_found(shop, settings):
    """
    It serves no sockets. The line to write is named, and the module isn't imported.
    """
    shop(STARTPROJECT)
    settings.ASGI_APPLICATION = "shop_asgi.application"
    (warning,) = application_serves_sockets()
    assert "pillarbox.W204" == warning.id
    assert 'ASGI_APPLICATION = "pillarbox.asgi.application"' in warning.hint


@pytest.mark.parametrize("source", [OWN_ROUTER, ELSEWHERE])
def test_other_applications_are_left_alone(shop, settings, source):
    """
    They may serve sockets.
    """
    shop(source)
    settings.ASGI_APPLICATION = "shop_asgi.application"
    assert [] == application_serves_sockets()


@pytest.mark.parametrize(
    "path",
    [None, "application", "nowhere.asgi.application", "builtins.application", "..application"],
)
def test_what_is_no_application(settings, path):
    """
    It is reported by whatever would serve it.
    """
    settings.ASGI_APPLICATION = path
    assert [] == application_serves_sockets()
