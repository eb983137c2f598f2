"""The settings in force while a test drains or has sockets."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from channels.layers import InMemoryChannelLayer
from django.conf import settings
from django.test import override_settings

from ..conf import pillarbox_settings
from ..layer.layers import notification_layer

#: Longer than a person looks at a breakpoint.
PATIENT_SECONDS = 3600
#: Timers would send what no drain has published. Deadlines would end a test that stops at a breakpoint; in
#: a `TestCase` PostgreSQL would apply them to the rest of the test's transaction, too.
PATIENCE = dict.fromkeys(
    (
        *("DATABASE_SECONDS", "HEARTBEAT_SECONDS", "POSITION_CHECK_SECONDS", "PUBLISH_SECONDS"),
        *("REAUTHORISE_SECONDS", "RENDER_SECONDS", "SLOW_SECONDS"),
    ),
    PATIENT_SECONDS,
) | {"LOCK_IDLE_SECONDS": 2 * PATIENT_SECONDS}
CAPACITY = 1_000_000
#: A layer whose queues are full drops messages, so this one's are large.
IN_MEMORY = {
    "BACKEND": "channels.layers.InMemoryChannelLayer",
    "CONFIG": {"capacity": CAPACITY, "expiry": PATIENT_SECONDS},
}


@contextmanager
def patient_settings() -> Iterator[None]:
    """Remove timers and deadlines within the block, and use a channel layer in memory."""
    overrides: dict[str, Any] = {"PILLARBOX": {**getattr(settings, "PILLARBOX", {}), **PATIENCE}}
    layer = notification_layer()
    # Open sockets of this test listen to the present layer. The project's own may be too small.
    if not (isinstance(layer, InMemoryChannelLayer) and layer.capacity == CAPACITY):
        layers, ours = getattr(settings, "CHANNEL_LAYERS", {}), pillarbox_settings().CHANNEL_LAYER
        overrides["CHANNEL_LAYERS"] = {**layers, ours: IN_MEMORY}
    with override_settings(**overrides):
        yield
