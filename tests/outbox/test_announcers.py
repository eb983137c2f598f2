"""Of a model that isn't ours, what is chosen counts, and nothing else."""

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from apps.outbox.announcers import Announcer, connect, disconnect
from apps.outbox.models import NotificationOutbox
from apps.tickets.models import Project
from tests.database import statements

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]

User = get_user_model()
Member = Project.members.through


@pytest.fixture
def watching():
    """Announce the changes of a model's rows as those of objects of a type, `seen`."""
    connected = []

    def watching(model, streams, **values):
        announcer = Announcer(
            object_type="seen",
            model=model,
            streams=streams,
            payload=lambda row: {},
            tombstone=lambda pk: {},
            **values,
        )
        connect(announcer)
        connected.append(announcer)
        return announcer

    yield watching
    for announcer in connected:
        disconnect(announcer)


def seen():
    """Return what is announced of that type, in order, and forget it."""
    rows = NotificationOutbox.objects.filter(object_type="seen").order_by("id")
    found = [(row.stream, row.event) for row in rows]
    NotificationOutbox.objects.all().delete()
    return found


class TestFields:
    @pytest.fixture(autouse=True)
    def watched(self, watching, other):
        watching(User, lambda user: [f"seen:{user.pk}"], fields=("password", "is_active"))

    def test_count(self, other):
        """
        A change of one of them is announced, whatever makes it, and creation and deletion are.
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
        A sign-in, and any other change, is nobody's business.
        """
        Client().force_login(other)
        other.first_name = "O."
        other.save()
        User.objects.update(last_name="x")
        User.objects.bulk_update([other], ["first_name", "is_active"])
        assert [] == seen()

    def test_cost_nothing_where_they_are_not_written(self, other):
        """
        A save of other fields is Django's own statement; one that may change them looks at the row.
        """
        other.first_name = "O."
        found = statements(lambda: other.save(update_fields=["first_name"]))
        assert ["BEGIN", "UPDATE", "COMMIT"] == found
        found = statements(lambda: other.save(update_fields=["first_name", "is_active"]))
        assert ["BEGIN", "SELECT", "UPDATE", "COMMIT"] == found


class TestFieldsOfAModelWithATracker:
    def test_need_not_be_the_trackers(self, watching, project):
        """
        What the tracker tracks counts for the type that goes by it, what was chosen for the other.
        """
        watching(Project, lambda row: [f"seen:{row.pk}"], fields=("created",))
        project.name = "Changed"
        project.save()
        assert [] == seen()
        project.created = project.created.replace(year=2000)
        project.save()
        assert [(f"seen:{project.pk}", "UPDATE_SEEN")] == seen()

    def test_may_be_the_trackers(self, watching, project):
        """
        That the tracker saw a change is enough: nothing is read before.
        """
        watching(Project, lambda row: [f"seen:{row.pk}"], fields=("name",))
        project.name = "Changed"
        assert "SELECT" != statements(project.save)[1]
        assert [(f"seen:{project.pk}", "UPDATE_SEEN")] == seen()

    def test_may_be_none(self, watching, project):
        """
        Without a field that counts there is creation, and deletion.
        """
        watching(Project, lambda row: [f"seen:{row.pk}"], fields=())
        project.name = "Changed"
        project.save()
        Project.objects.update(name="Again")
        assert [] == seen()
        project.delete()
        assert ["DELETE_SEEN"] == [event for _, event in seen()]

    def test_go_with_those_that_decide(self, watching, ticket):
        """
        What decides where something is announced counts, chosen or not.
        """
        watching(
            type(ticket),
            lambda row: [f"seen:{row.project_id}"],
            fields=("status",),
            deciding=("project",),
        )
        left, office = ticket.project_id, Project.objects.create(name="Office")
        ticket.title = "Changed"
        ticket.save()
        assert [] == seen()
        ticket.project = office
        ticket.save()
        assert [
            (f"seen:{left}", "DELETE_SEEN"),
            (f"seen:{office.pk}", "CREATE_SEEN"),
        ] == seen()


@pytest.mark.parametrize(
    "chosen", [{}, {"fields": ("user",)}, {"fields": (), "deciding": ("user",)}], ids=str
)
class TestRelation:
    """The table of a many-to-many relation, beside the type that shows the relation."""

    @pytest.fixture(autouse=True)
    def watched(self, watching, chosen):
        watching(Member, lambda row: [f"seen:{row.user_id}"], **chosen)

    @pytest.fixture
    def office(self):
        return Project.objects.create(name="Office")

    @pytest.mark.parametrize("side", ["project", "user"])
    def test_is_announced_from_either_side(self, office, other, side):
        """
        Who comes has a right more, who goes one less, whoever says so; who stays has them all.
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
        With the user or the project, the right is gone.
        """
        office.members.add(other)
        pk = other.pk
        NotificationOutbox.objects.all().delete()
        (office if gone == "project" else other).delete()
        assert [(f"seen:{pk}", "DELETE_SEEN")] == seen()

    def test_is_announced_by_its_own_model(self, office, other, demo):
        """
        A row that becomes another's is a right less there and one more here.
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

    def test_is_still_shown_by_its_owner(self, office, other, announced):
        """
        The type that names the relation is updated as ever.
        """
        NotificationOutbox.objects.all().delete()
        office.members.add(other)
        assert [
            (f"project:{office.pk}", "UPDATE_PROJECT"),
            (f"seen:{other.pk}", "CREATE_SEEN"),
        ] == sorted(announced())
        NotificationOutbox.objects.all().delete()
        other.projects.clear()
        assert [
            (f"project:{office.pk}", "UPDATE_PROJECT"),
            (f"rights:{other.pk}", "DELETE_RIGHTS"),
            (f"seen:{other.pk}", "DELETE_SEEN"),
        ] == sorted(announced())
