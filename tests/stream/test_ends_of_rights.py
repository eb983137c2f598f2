"""Stored ends of rights, and the transactions committed before them."""

import pytest
from django.db import DEFAULT_DB_ALIAS

from pillarbox.models import RIGHTS, RIGHTS_SHARD, NotificationOutbox, Stream
from pillarbox.stream import history
from pillarbox.stream.ends_of_rights import MOST, ends_after
from pillarbox.stream.history import Position
from pillarbox.stream.numbering import number
from tests.rows import end, make

USING = {"using": DEFAULT_DB_ALIAS}

pytestmark = pytest.mark.django_db


class TestAfter:
    """Reading the ends of rights after an offset."""

    def test_in_order(self):
        """
        Ends come in order, with their user and whether the rights only began.
        """
        head = history.head(RIGHTS, **USING)
        end(1)
        end("staff", lookup="groups", event="CREATE_RIGHTS")
        number(RIGHTS_SHARD, **USING)
        position, ends = ends_after(head, **USING)
        assert 2 == position.offset
        assert [(1, False, "rights", "1", ""), (2, True, "rights", "staff", "groups")] == ends
        assert (position, []) == ends_after(position, **USING)

    @pytest.mark.parametrize("why", ["another epoch", "beyond the head", "pruned", "too many"])
    def test_of_unknown_extent(self, why):
        """
        Then any end may concern any user.
        """
        head = history.head(RIGHTS, **USING)
        for number_of in range(2):
            end(number_of)
        number(RIGHTS_SHARD, **USING)
        if why == "pruned":
            NotificationOutbox.objects.filter(stream=RIGHTS, offset=1).delete()
        if why == "too many":
            Stream.objects.filter(name=RIGHTS).update(head=MOST + 1)
        epoch = "another" if why == "another epoch" else head.epoch
        known = Position(epoch=epoch, offset=9 if why == "beyond the head" else 0)
        assert ends_after(known, **USING)[1] is None


def test_rows_are_stamped_with_the_ends_before_them():
    """
    Ends without an offset are numbered first.
    """
    end()
    row = make()
    number(row.shard, **USING)
    row.refresh_from_db()
    assert (1, 1) == (row.offset, row.stamp)
    assert 1 == NotificationOutbox.objects.get(stream=RIGHTS).offset
