"""Many-to-many relations: their changes are announced as changes of the owning object."""

import threading
from contextlib import contextmanager

import pytest
from django.db import connections, models, transaction

from apps.tickets.models import Project
from pillarbox.models import RIGHTS, NotificationOutbox
from tests.database import payloads
from tests.library.live import BookType, ItemType
from tests.library.models import Book, Item, Pass, Reader, Shelf, Tag
from tests.registration import library_model, registered, tables, type_of
from tests.rendering import number_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


@pytest.fixture
def office():
    office = Project.objects.create(name="Office")
    NotificationOutbox.objects.all().delete()
    return office


def members():
    """Return the members in each notification of a project. The database returns members in any order."""
    return [sorted(payload["members"]) for payload in payloads(object_type="project")]


class TestManyToMany:
    def test_add_remove_set_clear(self, office, demo, other):
        """
        Each change of the relation announces the object's new state.
        """
        for change, expected in (
            (lambda: office.members.add(demo), ["demo"]),
            (lambda: office.members.add(other), ["demo", "other"]),
            (lambda: office.members.remove(demo), ["other"]),
            (lambda: office.members.set([demo]), ["demo"]),
            (office.members.clear, []),
        ):
            change()
            assert [expected] == members()
            NotificationOutbox.objects.all().delete()

    def test_without_a_change_is_silent(self, office, demo):
        """
        Adding existing members and clearing an empty relation announce nothing.
        """
        office.members.clear()
        assert [] == members()
        office.members.add(demo)
        office.members.add(demo)
        assert [["demo"]] == members()

    def test_from_the_other_side(self, office, other):
        """
        Changes from either side announce the owner of the relation.
        """
        for change in (
            lambda: other.projects.add(office),
            lambda: other.projects.remove(office),
            lambda: other.projects.add(office),
            other.projects.clear,
        ):
            change()
            members()
        assert [["other"], [], ["other"], []] == members()

    def test_of_a_deleted_member(self, office, demo, other):
        """
        When a member is deleted, the project is announced without it.
        """
        office.members.add(demo, other)
        members()
        NotificationOutbox.objects.all().delete()
        demo.delete()
        shown = payloads(stream=f"project:{office.pk}")
        assert [["other"]] == [payload["members"] for payload in shown]


@contextmanager
def beside(change):
    """Make a change in another connection's transaction, which commits at the end of the block."""
    made, is_over = threading.Event(), threading.Event()

    def work():
        with transaction.atomic():
            change()
            made.set()
            is_over.wait()
        connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    made.wait()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


class TestTwoWriters:
    """Two concurrent writers don't wait for each other; the one that commits last wrote first."""

    def shown(self, object_type):
        number_all()
        rows = NotificationOutbox.objects.filter(object_type=object_type).exclude(stream=RIGHTS)
        rows = rows.order_by("stream", "offset")
        return [row.payload for row in rows]

    def test_the_last_notification_shows_both(self, office, demo, other):
        """
        The row rendered before the other transaction's commit comes first.
        """
        with beside(lambda: office.members.add(demo)):
            office.members.add(other)
            assert [["other"]] == members()
        assert [["other"], ["demo", "other"]] == [
            sorted(row["members"]) for row in self.shown("project")
        ]

    def test_the_other_one_moves_the_object(self, office):
        """
        A move rendered before the other transaction's commit doesn't show that one's changes.
        """
        item, tag = Item.objects.create(title="a"), Tag.objects.create(name="t")
        shelf = Shelf.objects.create(name="s")
        number_all()
        NotificationOutbox.objects.all().delete()
        with beside(lambda: item.tags.add(tag)):
            Item.objects.update(shelf=shelf)
            payloads()
        assert [[], ["t"]] * 2 == [row["tags"] for row in self.shown("item")]


def test_is_announced_for_the_type_that_names_it(ticket):
    """
    A relation named only by a child's type changes the child, not its parent.
    """
    book_type = type("WithTags", (BookType,), {"shows": ("tags",)})
    item_type = type("WithoutTags", (ItemType,), {"shows": ()})
    with registered(book_type, item_type):
        book, tag = Book.objects.create(title="a"), Tag.objects.create(name="t")
        payloads()
        NotificationOutbox.objects.all().delete()
        book.tags.add(tag)
    assert ["UPDATE_BOOK"] == list(NotificationOutbox.objects.values_list("event", flat=True))


def test_a_relation_with_a_model_of_its_own(ticket):
    """
    A change of its rows announces the owning object; if a row moves, both owners.
    """
    reader = Reader.objects.create(name="Ann")
    here, there = (Shelf.objects.create(name=name) for name in ("here", "there"))
    payloads()
    NotificationOutbox.objects.all().delete()
    found = []
    for change in (
        lambda: Pass.objects.bulk_create([Pass(shelf=here, reader=reader)]),
        lambda: Pass.objects.update(shelf=there),
        lambda: Pass.objects.update(level=1),
        lambda: Pass.objects.all().delete(),
    ):
        change()
        shown = [(payload["name"], len(payload["readers"])) for payload in payloads()]
        found.append(sorted(shown))
        NotificationOutbox.objects.all().delete()
    assert [[("here", 1)], [("here", 0), ("there", 1)], [("there", 1)], [("there", 0)]] == found


@pytest.mark.parametrize("is_proxy", [True, False], ids=["a proxy", "with a parent"])
def test_a_model_whose_foreign_keys_another_declares(is_proxy):
    """
    The table with the foreign keys counts, if the relation's own model is a proxy or inherits them.
    """
    crate = library_model(
        "Crate", tags=models.ManyToManyField(Tag, through="library.Packing", related_name="+")
    )
    declared = library_model(
        "Declared",
        crate=models.ForeignKey(crate, models.CASCADE, related_name="+"),
        tag=models.ForeignKey(Tag, models.CASCADE, related_name="+"),
    )
    meta = type("Meta", (), {"app_label": "library", "proxy": is_proxy})
    packing = type("Packing", (declared,), {"__module__": __name__, "Meta": meta})

    def payload(self, one):
        return {"tags": one.tags.count()}

    with (
        tables(crate, declared, *([] if is_proxy else [packing])),
        registered(type_of(crate, payload=payload, shows=("tags",))),
    ):
        one, tag = crate.objects.create(), Tag.objects.create(name="a")
        payloads()
        for change, count in (
            (lambda: packing.objects.create(crate=one, tag=tag), 1),
            (packing.objects.all().delete, 0),
        ):
            NotificationOutbox.objects.all().delete()
            change()
            assert [{"tags": count}] == payloads()


class TestToItself:
    """A relation from a model to itself changes the object at which its rows begin."""

    @pytest.fixture
    def person(self):
        """Return a live model with two relations to itself, and the rows of one have a model of their own."""
        person = library_model(
            "Person",
            friends=models.ManyToManyField("self"),
            followed=models.ManyToManyField(
                "self",
                through="library.Following",
                through_fields=("who", "whom"),
                symmetrical=False,
                related_name="followers",
            ),
        )

        def to_person(**options):
            return models.ForeignKey(person, models.CASCADE, related_name="+", **options)

        following = library_model(
            "Following",
            # Before the relation's own keys, of which the second one comes first.
            hint_of=to_person(null=True),
            whom=to_person(db_column="to"),
            who=to_person(db_column="from"),
        )

        def payload(self, one):
            return {"friends": one.friends.count(), "followed": one.followed.count()}

        relations = ("friends", "followed")
        with (
            tables(person, following),
            registered(type_of(person, payload=payload, shows=relations)),
        ):
            yield person

    def test_each_change(self, person):
        """
        Friends are announced both, a follower alone, and the two followers between whom a row moves.
        """
        following = person.followed.through.objects
        ann, bob, eve = (person.objects.create() for _ in range(3))
        names = {str(one.pk): name for one, name in ((ann, "ann"), (bob, "bob"), (eve, "eve"))}
        payloads()
        for change, expected in (
            (lambda: ann.friends.add(bob), {"ann": (1, 0), "bob": (1, 0)}),
            (lambda: ann.followed.add(bob), {"ann": (1, 1)}),
            (lambda: ann.followers.add(bob), {"bob": (1, 1)}),
            (lambda: following.update(hint_of=eve), {"ann": (1, 1), "bob": (1, 1)}),
            (lambda: following.filter(who=ann).update(who=eve), {"ann": (1, 0), "eve": (0, 1)}),
            (lambda: following.filter(who=eve).update(whom=ann), {"eve": (0, 1)}),
            (ann.followers.clear, {"bob": (1, 0), "eve": (0, 0)}),
            (lambda: person.objects.get(pk=ann.pk).delete(), {"ann": None, "bob": (0, 0)}),
        ):
            NotificationOutbox.objects.all().delete()
            change()
            payloads()
            rows = NotificationOutbox.objects.exclude(stream=RIGHTS).order_by("id")
            shown = {names[row.object_id]: row.payload for row in rows}
            assert expected == {
                name: None if "id" in payload else (payload["friends"], payload["followed"])
                for name, payload in shown.items()
            }
