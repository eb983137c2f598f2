"""Rows that name their objects by a lookup: rendering finds the objects."""

import pytest
from django.contrib.auth.models import Group, Permission

from pillarbox.models import RIGHTS, NotificationOutbox
from pillarbox.types.lookups import lookup_of
from tests.library.models import Book, Editor, Item, Series, Tag, Volume

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ann(django_user_model):
    return django_user_model.objects.create_user("ann")


@pytest.fixture
def series(db):
    """Create a series whose code is the primary key of another one."""
    other = Series.objects.create(code="other")
    series = Series.objects.create(code=str(other.pk))
    NotificationOutbox.objects.all().delete()
    return series


def ends():
    """Return event, lookup and value of each end of a right."""
    rows = NotificationOutbox.objects.filter(stream=RIGHTS).order_by("id")
    return list(rows.values_list("event", "lookup", "object_id"))


class TestRights:
    """The rows of a right name its user by username."""

    @pytest.fixture(autouse=True)
    def right(self, ann, series):
        Editor.objects.create(series=series, user=ann)
        NotificationOutbox.objects.all().delete()

    def test_its_end(self, execute):
        """
        The row has the username, by which readers find the user.
        """
        execute("DELETE FROM library_editor")
        assert [("DELETE_RIGHTS", "username", "ann")] == ends()

    def test_a_renamed_user(self, ann, execute):
        """
        The old name doesn't find a renamed user, so another row names the user by primary key.
        """
        execute("UPDATE auth_user SET username = 'anna'")
        assert [("UPDATE_RIGHTS", "", str(ann.pk))] == ends()

    def test_another_user(self, series, execute, django_user_model):
        """
        One user loses the right, and the other one gains it.
        """
        long = django_user_model.objects.create_user("n" * 150)
        NotificationOutbox.objects.all().delete()
        execute("UPDATE library_editor SET user_id = %s", long.username)
        assert [
            ("DELETE_RIGHTS", "username", "ann"),
            ("CREATE_RIGHTS", "username", long.username),
        ] == ends()


class TestOwners:
    def test_of_a_foreign_key(self, series, execute, rendered):
        """
        The object that includes a changed row is announced by its primary key.
        """
        volume = Volume.objects.create(title="a", series=series)
        rendered()
        NotificationOutbox.objects.all().delete()
        execute("UPDATE library_volume SET title = 'b' WHERE id = %s", volume.pk)
        ((stream, event, payload),) = rendered(object_type="series")
        assert (f"series:{series.pk}", "UPDATE_SERIES", ["b"]) == (
            stream,
            event,
            payload["volumes"],
        )

    def test_of_a_relation(self, series, execute, rendered):
        """
        The object whose relation changed is announced by its primary key.
        """
        tag = Tag.objects.create(name="new")
        execute(
            "INSERT INTO library_seriestag (series_id, tag_id) VALUES (%s, %s)", series.code, tag.pk
        )
        ((stream, _, payload),) = rendered()
        assert (f"series:{series.pk}", ["new"]) == (stream, payload["tags"])


class TestGroups:
    def test_lose_and_gain_permissions(self, execute):
        """
        The rows name the group.
        """
        group = Group.objects.create(name="staff")
        NotificationOutbox.objects.all().delete()
        group.permissions.add(Permission.objects.first())
        execute("DELETE FROM auth_group_permissions")
        assert [
            ("CREATE_RIGHTS", "groups", str(group.pk)),
            ("DELETE_RIGHTS", "groups", str(group.pk)),
        ] == ends()


@pytest.mark.parametrize(
    ("model", "field", "lookup"),
    [
        (Series, Series._meta.pk, ""),
        (Series, Series._meta.get_field("code"), "code"),
        (Book, Item._meta.pk, ""),
        (Item, Book._meta.pk, ""),
        (Book, Item._meta.get_field("title"), "title"),
        (Item, Book._meta.get_field("pages"), "book__pages"),
    ],
)
def test_the_lookup_of(model, field, lookup):
    """
    Primary keys of the model and its parents need no lookup. A descendant's field needs one.
    """
    assert lookup == lookup_of(model, field)
