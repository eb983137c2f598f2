"""The table of a many-to-many relation may have a composite primary key."""

from types import SimpleNamespace

import pytest
from django.db import models

from pillarbox.models import NotificationOutbox
from tests.database import payloads
from tests.library.models import Reader
from tests.registration import library_model, registered, tables, type_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def library():
    """Create two models with tables. One of them is live."""
    members = models.ManyToManyField(Reader, through="library.Membership", related_name="+")
    club = library_model("Club", members=members)
    membership = library_model(
        "Membership",
        pk=models.CompositePrimaryKey("club_id", "reader_id"),
        club=models.ForeignKey(club, models.CASCADE),
        reader=models.ForeignKey(Reader, models.CASCADE, related_name="+"),
        level=models.IntegerField(default=0),
    )
    shown = {"payload": lambda self, club: club.members.count(), "shows": ("members",)}
    with tables(club, membership), registered(type_of(club, **shown)):
        yield SimpleNamespace(club=club, memberships=membership.objects)


def test_each_change_announces_the_owner(library):
    """
    Any write announces the owner. If a row moves to another owner, both are announced.
    """
    ann, bob = (Reader.objects.create(name=name) for name in ("Ann", "Bob"))
    here, there = (library.club.objects.create() for _ in range(2))
    payloads()
    found = []
    for change in (
        lambda: library.memberships.create(club=here, reader=ann),
        lambda: here.members.add(bob),
        lambda: library.memberships.filter(reader=ann).update(club=there),
        lambda: library.memberships.filter(reader=ann).update(level=1),
        there.members.clear,
    ):
        NotificationOutbox.objects.all().delete()
        change()
        payloads()
        rows = NotificationOutbox.objects.order_by("stream")
        found.append(dict(rows.values_list("object_id", "payload")))
    one, other = str(here.pk), str(there.pk)
    assert [{one: 1}, {one: 2}, {one: 1, other: 1}, {other: 1}, {other: 0}] == found
