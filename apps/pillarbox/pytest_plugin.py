"""
The pytest plugin: fixtures with the names of the tools of `pillarbox.testing`.

pytest imports it in each environment that has this package, also in projects that don't use Django. So it
imports nothing else until a test asks for a fixture.
"""

from typing import Any

import pytest


@pytest.fixture
def announced() -> Any:
    """Return `pillarbox.testing.announced`."""
    from .testing.announcements import announced  # noqa: PLC0415

    return announced


@pytest.fixture
def drain() -> Any:
    """Return `pillarbox.testing.drain`."""
    from .testing.drains import drain  # noqa: PLC0415

    return drain


@pytest.fixture
def follow() -> Any:
    """Return `pillarbox.testing.follow`."""
    from .testing.followers import follow  # noqa: PLC0415

    return follow


@pytest.fixture
def socket() -> Any:
    """Return `pillarbox.testing.socket`."""
    from .testing.sockets import socket  # noqa: PLC0415

    return socket
