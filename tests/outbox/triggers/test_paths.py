"""Triggers announce what the hooks announce, whatever the path and however the transaction ends."""

import pytest

from tests.outbox.test_paths import ENDS, PATHS, world  # noqa: F401  # a fixture

pytestmark = pytest.mark.django_db(transaction=True)

#: What only the database sees.
BESIDES = {
    "fixture": {"UPDATE_ITEM"},
    "bulk_create, unannounced": set(),
}
#: What more is captured where the same object is announced twice: the rest comes from rendering.
ENDS_HERE = ("autocommit", "inner committed", "inner rolled back")


@pytest.mark.parametrize("end", ENDS_HERE)
@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_captured(triggers, world, events, path, end):  # noqa: F811
    """
    A committed change writes rows with the events of the table; a change that is rolled back writes none.
    """
    events()
    change, expected = PATHS[path]
    surroundings, stays = ENDS[end]
    with surroundings():
        change(world)
    captured = {event for _, event in events()}
    assert (BESIDES.get(path, set(expected)) if stays else set()) == captured
