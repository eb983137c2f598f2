"""A right that a row of another table gives, several tables away or by other keys, ends with that row."""

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction

from apps.tickets.live import ProjectType, TicketType
from apps.tickets.models import Project, Ticket
from tests.communicators import drain, in_thread, signed_in
from tests.library.live import SeriesType, VolumeType
from tests.library.models import Editor, Series, Volume
from tests.registration import registered
from tests.sockets.drawn_clients import deliver_without_ends

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "Secret"


class EditedSeries(SeriesType):
    """A type whose relation to users names both the series and the user by other fields than their keys."""

    def visible_to(self, user):
        return Series.objects.filter(editors=user)


class OpenSeries(SeriesType):
    grants = ()


class OfEditors(VolumeType):
    """A type of volumes that are visible to the editors of their series."""

    grants = ("series__editors",)

    def visible_to(self, user):
        return Volume.objects.filter(series__editors=user)


class OfEditorRows(VolumeType):
    """The same, with a path through the relation's own model."""

    grants = ("series__editor__user",)

    def visible_to(self, user):
        return Volume.objects.filter(series__editor__user=user)


class OpenProject(ProjectType):
    grants = ()


class OfMembers(TicketType):
    """A type of tickets that names the relation to its members itself. All keys are primary keys."""

    grants = ("project__members",)


#: The table with the rows of each relation, and the types that are registered. Only the last one grants by
#: the relation, so that no triggers of another one see its end.
RELATIONS = {
    "editors": (Editor, EditedSeries),
    "series__editors": (Editor, OpenSeries, OfEditors),
    "series__editor__user": (Editor, OpenSeries, OfEditorRows),
    "project__members": (Project.members.through, OpenProject, OfMembers),
}


@pytest.fixture(params=RELATIONS.values(), ids=RELATIONS)
def relation(request):
    return request.param


@pytest.fixture
def volume(demo, other):
    """
    Return a volume with demo and other as editors. Its series' code is the primary key of another series.
    """
    another = Series.objects.create(code="another")
    series = Series.objects.create(code=str(another.pk))
    for user in (demo, other):
        Editor.objects.create(series=series, user=user)
    return Volume.objects.create(title="First", series=series)


@pytest.fixture
def about(relation, other, ticket, volume, relay):
    """Return the subject of an object that demo and other see by the relation."""
    _, *types = relation
    kind = types[-1]
    ticket.project.members.add(other)
    keys = {Series: volume.series.pk, Volume: volume.pk, Ticket: ticket.pk}
    with registered(*types):
        relay.drain()
        yield {"object_type": kind.name, "id": kind().public_id(keys[kind().model])}


@pytest.fixture
def rows(relation, about, demo):
    """Return the rows that give demo the right. No other end of a right leads to an access check."""
    table, *_ = relation
    return table.objects.filter(user=demo)


def delete(rows):
    rows.delete()


def give_away(rows):
    rows.update(user=get_user_model().objects.create_user("third"))


def write_secret():
    Volume.objects.update(title=SECRET)
    Ticket.objects.update(title=SECRET)


def end_and_change(end, rows):
    with transaction.atomic():
        end(rows)
        write_secret()


def end_then_change(end, rows):
    end(rows)
    write_secret()


@pytest.mark.parametrize(
    ("end", "order", "way"),
    [
        (delete, end_and_change, drain),
        (delete, end_and_change, deliver_without_ends),
        (delete, end_then_change, drain),
        (delete, end_then_change, deliver_without_ends),
        (give_away, end_and_change, deliver_without_ends),
    ],
)
async def test_the_end_arrives_instead_of_the_change(demo, other, about, rows, end, order, way):
    """
    Only the user who lost the right is unsubscribed. The other user is sent the change.
    """
    async with signed_in(demo) as socket, signed_in(other) as witness:
        for one in (socket, witness):
            assert "subscribed" == (await one.ask(about))["type"]
        await in_thread(order, end, rows)
        await way()
        frame = await socket.receive()
        assert ("unsubscribed", about["id"]) == (frame["type"], frame["id"]), frame
        assert await socket.answers()
        assert SECRET in str(await witness.receive())
        assert await witness.answers()
