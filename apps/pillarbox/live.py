"""
The public interface: a project imports what it needs from here.

In its own `live.py`, an app declares object types and registers them. Code calls `announce` for events that
no change of a model causes, `rights_changed` for the end of a right that no declaration names, and `muted`
for changes that nobody should see. `erase` blanks what the outbox keeps of an object. Serializers, views and
pages use the two fields, `object_type` and `positions`.
"""

from .capture.announce import announce, rights_changed
from .capture.muting import muted
from .erasure.erase import erase
from .stream.page_positions import positions
from .types.fields import HashidField, HashidRelatedField
from .types.object_types import ObjectType
from .types.registry import object_type, register

__all__ = [
    "HashidField",
    "HashidRelatedField",
    "ObjectType",
    "announce",
    "erase",
    "muted",
    "object_type",
    "positions",
    "register",
    "rights_changed",
]
