"""The steps of the relay before publishing, without a relay: rendering and numbering."""

from django.db import DEFAULT_DB_ALIAS

from pillarbox.models import SHARDS
from pillarbox.stream.numbering import number
from pillarbox.stream.rendering.batches.due_shards import shards_to_render
from pillarbox.stream.rendering.renderer import render_batch

USING = {"using": DEFAULT_DB_ALIAS}


def render_all() -> None:
    """Render captured rows until none is left that can be rendered now."""
    while sum(render_batch(shard, **USING) for shard in shards_to_render(**USING)):
        pass


def number_all() -> None:
    """Render and number all committed rows."""
    render_all()
    for shard in range(SHARDS):
        while number(shard, **USING):
            pass
