"""What tests of the relay share."""

import pytest

from tests.layers import RecordingLayer
from tests.waiting import PATIENCE
from workers import bell


@pytest.fixture(autouse=True)
def unhurried_bell(monkeypatch):
    """Redis may answer late: a bell isn't silent because this process had no time."""
    monkeypatch.setattr(bell, "ANSWER_SECONDS", PATIENCE)
    bell._redis.cache_clear()
    yield
    bell._redis.cache_clear()


@pytest.fixture
def sent(settings):
    """What the channel layer is sent, in order."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecordingLayer"}}
    RecordingLayer.sent.clear()
    return RecordingLayer.sent
