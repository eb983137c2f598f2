"""Announcers of models that other apps declare: only the chosen fields count as changes."""

from contextlib import ExitStack

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from apps.tickets.models import Project, Ticket
from pillarbox.models import RIGHTS, NotificationOutbox
from pillarbox.types.announcers import Announcer
from tests.registration import live

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]

User = get_user_model()
Member = Project.members.through


@pytest.fixture
def watching():
    """Return a function that announces changes of a model's rows as objects of the type `seen`."""
    with ExitStack() as stack:

        def watching(model, owner="pk", **values):
            announcer = Announcer(
                object_type="seen",
                model=model,
                streams=list,
                stream_keys=(("seen", owner),),
                payload=dict,
                tombstone=dict,
                **values,
            )
            stack.enter_context(live(announcer))

        yield watching


def seen():
    """Return the notifications of that type in order, and clear them."""
    rows = (
        NotificationOutbox.objects.filter(object_type="seen").exclude(stream=RIGHTS).order_by("id")
    )
    found = [(row.stream, row.event) for row in rows]
    NotificationOutbox.objects.all().delete()
    return found


class TestFields:
    @pytest.fixture(autouse=True)
    def watched(self, watching, other):
        watching(User, fields=("password", "is_active"))

    def test_count(self, other):
        """
        A change of a chosen field is announced, by any kind of write. So are creation and deletion.
        """
        expected = [(f"seen:{other.pk}", "UPDATE_SEEN")]
        other.set_password("new")
        other.save()
        assert expected == seen()
        other.set_password("newer")
        other.save(update_fields=["password"])
        assert expected == seen()
        User.objects.filter(pk=other.pk).update(is_active=False)
        assert expected == seen()
        other.is_active = True
        User.objects.bulk_update([other, User.objects.get(username="demo")], ["is_active"])
        assert expected == seen()
        ann = User.objects.create_user("ann")
        assert [(f"seen:{ann.pk}", "CREATE_SEEN")] == seen()
        User.objects.filter(pk=ann.pk).delete()
        assert [(f"seen:{ann.pk}", "DELETE_SEEN")] == seen()

    def test_are_all_that_counts(self, other):
        """
        A change of other fields, such as the last login, is not announced.
        """
        Client().force_login(other)
        other.first_name = "O."
        other.save()
        User.objects.update(last_name="x")
        User.objects.bulk_update([other], ["first_name", "is_active"])
        assert [] == seen()


class TestFieldsOfAModelWithATracker:
    def test_need_not_be_the_trackers(self, watching, project):
        """
        One type has chosen fields, and the other one the tracker's.
        """
        watching(Project, fields=("created",))
        project.name = "Changed"
        project.save()
        assert [] == seen()
        project.created = project.created.replace(year=2000)
        project.save()
        assert [(f"seen:{project.pk}", "UPDATE_SEEN")] == seen()

    def test_may_be_none(self, watching, project):
        """
        If no field counts, only creation and deletion are announced.
        """
        watching(Project, fields=())
        project.name = "Changed"
        project.save()
        Project.objects.update(name="Again")
        assert [] == seen()
        project.delete()
        assert ["DELETE_SEEN"] == [event for _, event in seen()]

    def test_move_fields_always_count(self, watching, ticket):
        """
        Fields that decide on streams or visibility count even if they were not chosen.
        """
        watching(Ticket, "project_id", fields=("status",), move_fields=("project",))
        left, office = ticket.project_id, Project.objects.create(name="Office")
        ticket.title = "Changed"
        ticket.save()
        assert [] == seen()
        ticket.project = office
        ticket.save()
        assert {
            (f"seen:{left}", "DELETE_SEEN"),
            (f"seen:{office.pk}", "CREATE_SEEN"),
        } == set(seen())


@pytest.mark.parametrize(
    "chosen", [{}, {"fields": ("user",)}, {"fields": (), "move_fields": ("user",)}], ids=str
)
class TestRelation:
    """The table of a many-to-many relation, beside the type that shows the relation."""

    @pytest.fixture(autouse=True)
    def watched(self, watching, chosen):
        watching(Member, "user_id", **chosen)

    @pytest.fixture
    def office(self):
        return Project.objects.create(name="Office")

    @pytest.mark.parametrize("side", ["project", "user"])
    def test_is_announced_from_either_side(self, office, other, side):
        """
        From either side, added members gain a right, removed ones lose it, and others keep it.
        """
        one, many = (office.members, other) if side == "project" else (other.projects, office)
        came, went = [[(f"seen:{other.pk}", f"{verb}_SEEN")] for verb in ("CREATE", "DELETE")]
        one.add(many)
        assert came == seen()
        one.add(many)
        one.set([many])
        assert [] == seen()
        one.remove(many)
        assert went == seen()
        one.set([many])
        assert came == seen()
        one.clear()
        assert went == seen()
        one.set([many])
        one.set([])
        assert [*came, *went] == seen()

    @pytest.mark.parametrize("gone", ["project", "user"])
    def test_is_announced_when_a_side_is_deleted(self, office, other, gone):
        """
        When the user or the project is deleted, the right ends.
        """
        office.members.add(other)
        pk = other.pk
        NotificationOutbox.objects.all().delete()
        (office if gone == "project" else other).delete()
        assert [(f"seen:{pk}", "DELETE_SEEN")] == seen()

    def test_is_announced_by_its_own_model(self, office, other, demo):
        """
        A row that changes its owner is deleted for the old owner and created for the new.
        """
        row = Member.objects.create(project=office, user=other)
        assert [(f"seen:{other.pk}", "CREATE_SEEN")] == seen()
        row.user = demo
        row.save()
        assert {
            (f"seen:{demo.pk}", "CREATE_SEEN"),
            (f"seen:{other.pk}", "DELETE_SEEN"),
        } == set(seen())
        Member.objects.filter(pk=row.pk).delete()
        assert [(f"seen:{demo.pk}", "DELETE_SEEN")] == seen()

    def test_also_updates_its_owner(self, office, other, announced):
        """
        A change of the relation also announces an update of the object that includes it.
        """
        NotificationOutbox.objects.all().delete()
        office.members.add(other)
        assert [
            (f"project:{office.pk}", "UPDATE_PROJECT"),
            (RIGHTS, "CREATE_RIGHTS"),
            (f"seen:{other.pk}", "CREATE_SEEN"),
        ] == sorted(announced())
        NotificationOutbox.objects.all().delete()
        other.projects.clear()
        assert [
            (f"project:{office.pk}", "UPDATE_PROJECT"),
            (RIGHTS, "DELETE_RIGHTS"),
            (f"seen:{other.pk}", "DELETE_SEEN"),
        ] == sorted(announced())
