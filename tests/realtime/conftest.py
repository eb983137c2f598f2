"""What tests of sockets need."""

from typing import Any

import pytest


@pytest.fixture
def by_hand(settings: Any) -> None:
    """Rounds that only go when told to."""
    settings.REALTIME = {"POSITION_CHECK_SECONDS": 1000, "REAUTHORISE_SECONDS": 1000}
