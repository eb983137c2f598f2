"""The law of rights: rows committed with or after the end of a right aren't shown to users who lost it."""

import pytest

from tests.sockets.drawn_walks import Walk

pytestmark = pytest.mark.django_db(transaction=True)

STEPS = 40


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_is_shown_without_the_right(settings, drawn, seed):
    """
    Clients receive only notifications that their user could see when they were committed. Meanwhile rights of
    every kind end and begin again, objects move, and clients resume from old positions. Rows are rendered,
    numbered and sent at different times. Messages are lost or late, most ends among them.
    """
    await Walk(seed, drawn).go(settings, STEPS)
