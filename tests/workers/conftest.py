"""What tests of the relay share."""

import pytest

from tests.layers import RecordingLayer


@pytest.fixture
def sent(settings):
    """What the channel layer is sent, in order."""
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecordingLayer"}}
    RecordingLayer.sent.clear()
    return RecordingLayer.sent
