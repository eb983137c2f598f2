"""A law: after any operations of the ORM, notifications and stored rows agree."""

import uuid
from contextlib import suppress

import pytest
from django.core.exceptions import ObjectDoesNotExist
from django.db import (
    DatabaseError,
    IntegrityError,
    transaction,
)
from django.db.models import F
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.law import assert_law, empty
from tests.library.models import Book, Card, Item, Pass, Reader, Shelf, Tag, Treasure
from tests.seeds import SEEDS

KINDS = st.sampled_from([Item, Book, Treasure])


NUMBERS = st.integers(0, 4)


TITLES = st.sampled_from(["a", "b", "c"])


PLACES = st.integers(0, 20)


class Library(RuleBasedStateMachine):
    """
    Random operations of the ORM in transactions and savepoints that commit, fail or roll back.
    Instances are kept, grow stale, and are saved after rollbacks and deletions.
    """

    def __init__(self):
        super().__init__()
        empty()
        self.kept = []
        self.blocks = []

    def teardown(self):
        while self.blocks:
            self.commit()
        assert_law()

    def pick(self, model, place):
        """Return an earlier instance, perhaps a stale one; None if there is none."""
        found = [instance for instance in self.kept if isinstance(instance, model)]
        return found[place % len(found)] if found else None

    def keep(self, instance):
        self.kept.append(instance)

    @staticmethod
    def attempt(change, *args, **kwargs):
        """Run an operation that the database or Django may refuse; roll it back then."""
        with (
            suppress(DatabaseError, ValueError, TypeError, ObjectDoesNotExist),
            transaction.atomic(),
        ):
            return change(*args, **kwargs)

    @invariant()
    def law(self):
        if not self.blocks:
            assert_law()

    # Transactions

    @rule()
    def begin(self):
        block = transaction.atomic()
        block.__enter__()
        self.blocks.append(block)

    @rule()
    def commit(self):
        if self.blocks:
            with suppress(IntegrityError):  # fails if a foreign key refers to a rolled-back row
                self.blocks.pop().__exit__(None, None, None)

    @rule()
    def roll_back(self):
        if self.blocks:
            with suppress(ZeroDivisionError):
                self.blocks.pop().__exit__(ZeroDivisionError, ZeroDivisionError(), None)

    # Saves

    @rule(title=TITLES)
    def make(self, title):
        self.keep(Shelf.objects.create(name=title))
        self.keep(Reader.objects.create(name=title))
        self.keep(Tag.objects.create(name=title))

    @rule(kind=KINDS, title=TITLES, place=PLACES, reader=PLACES)
    def add(self, kind, title, place, reader):
        instance = kind(
            title=title, shelf=self.pick(Shelf, place), borrower=self.pick(Reader, reader)
        )
        self.attempt(instance.save)
        self.keep(instance)

    @rule(kind=KINDS, place=PLACES)
    def load(self, kind, place):
        rows = list(kind.objects.order_by("pk"))
        if rows:
            self.keep(rows[place % len(rows)])

    @rule(kind=KINDS, place=PLACES, title=TITLES, whole=st.booleans())
    def rename(self, kind, place, title, whole):
        if instance := self.pick(kind, place):
            instance.title = title
            self.attempt(instance.save, update_fields=None if whole else ["title"])

    @rule(place=PLACES, title=TITLES)
    def rename_shelf(self, place, title):
        if instance := self.pick(Shelf, place):
            instance.name = title
            self.attempt(instance.save)

    @rule(place=PLACES, shelf=PLACES, whole=st.booleans())
    def move(self, place, shelf, whole):
        if instance := self.pick(Item, place):
            instance.shelf = self.pick(Shelf, shelf)
            self.attempt(instance.save, update_fields=None if whole else {"shelf"})

    @rule(place=PLACES)
    def count(self, place):
        if instance := self.pick(Item, place):
            instance.count = F("count") + 1
            self.attempt(instance.save)
            instance.count = 0

    @rule(place=PLACES)
    def fail(self, place):
        if instance := self.pick(Item, place):
            title, instance.title = instance.title, "x" * 51
            self.attempt(instance.save)
            instance.title = title

    @rule(number=NUMBERS, colour=TITLES, scratches=NUMBERS)
    def card(self, number, colour, scratches):
        card, _ = Card.objects.update_or_create(
            number=number, defaults={"colour": colour, "scratches": scratches}
        )
        self.keep(card)

    @rule(place=PLACES, colour=TITLES)
    def paint(self, place, colour):
        if card := self.pick(Card, place):
            card.colour = colour
            self.attempt(card.save)

    # Bulk writes

    @rule(titles=st.lists(TITLES, max_size=4), place=PLACES, kind=st.sampled_from([Item, Treasure]))
    def bulk_create(self, titles, place, kind):
        items = [kind(title=title, shelf=self.pick(Shelf, place)) for title in titles]
        self.attempt(kind.objects.bulk_create, items, batch_size=2)

    @rule(numbers=st.lists(NUMBERS, max_size=4, unique=True), colour=TITLES)
    def upsert(self, numbers, colour):
        Card.objects.bulk_create(
            [Card(id=uuid.uuid4(), number=number, colour=colour) for number in numbers],
            update_conflicts=True,
            unique_fields=["number"],
            update_fields=["colour"],
        )

    @rule(title=TITLES)
    def bulk_update(self, title):
        items = list(Item.objects.all())
        for item in items:
            item.title, item.count = title, item.count + 1
        self.attempt(Item.objects.bulk_update, items, ["title", "count"], batch_size=2)

    @rule(kind=KINDS, title=TITLES, place=PLACES)
    def update(self, kind, title, place):
        shelf = self.pick(Shelf, place)
        self.attempt(kind.objects.filter(title=title).update, shelf=shelf, count=F("count") + 1)

    @rule(number=NUMBERS)
    def update_book(self, number):
        Book.objects.update(pages=number, title="a")

    @rule(place=PLACES, action=st.sampled_from(["add", "remove", "set", "clear"]), other=PLACES)
    def related(self, place, action, other):
        shelf, item = self.pick(Shelf, place), self.pick(Item, other)
        if shelf and item:
            items = {"clear": [], "set": [[item]]}.get(action, [item])
            self.attempt(lambda: getattr(shelf.items, action)(*items))

    # Relations

    @rule(
        place=PLACES,
        action=st.sampled_from(["add", "remove", "set", "clear"]),
        other=PLACES,
        reverse=st.booleans(),
    )
    def tag(self, place, action, other, reverse):
        item, tag = self.pick(Item, place), self.pick(Tag, other)
        if item and tag:
            owner, target = (tag, item) if reverse else (item, tag)
            targets = {"clear": [], "set": [[target]]}.get(action, [target])
            manager = "items" if reverse else "tags"
            self.attempt(lambda: getattr(getattr(owner, manager), action)(*targets))

    @rule(place=PLACES, reader=PLACES)
    def let_in(self, place, reader):
        shelf, reader = self.pick(Shelf, place), self.pick(Reader, reader)
        if shelf and reader:
            self.attempt(lambda: Pass.objects.create(shelf=shelf, reader=reader))

    @rule(level=NUMBERS)
    def turn_out(self, level):
        Pass.objects.update(level=level)
        self.attempt(Pass.objects.filter(pk__lte=level).delete)

    # Deletions

    @rule(kind=st.sampled_from([Item, Book, Treasure, Shelf, Reader, Tag, Card]), place=PLACES)
    def delete(self, kind, place):
        if instance := self.pick(kind, place):
            self.attempt(instance.delete)

    @rule(kind=KINDS, title=TITLES)
    def delete_many(self, kind, title):
        self.attempt(kind.objects.filter(title=title).delete)

    @rule(place=PLACES)
    def keep_parents(self, place):
        if instance := self.pick(Book, place):
            self.attempt(instance.delete, keep_parents=True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_empty", [True, False], ids=["of nothing", "of objects"])
def test_law_of_each_operation(is_empty):
    """
    A fixed run covers each operation, which random runs may leave out.
    """
    library = Library()
    library.begin()
    library.roll_back()
    for _ in range(0 if is_empty else 2):
        library.begin()
        library.make("a")
        library.add(Book, "a", 0, 0)
        library.card(1, "a", 1)
        library.commit()
    library.commit()
    library.roll_back()
    for kind in (Item, Book):
        library.load(kind, 0)
        library.rename(kind, 0, "b", whole=True)
        library.update(kind, "b", 0)
    library.rename_shelf(0, "b")
    library.move(0, 0, whole=True)
    library.count(0)
    library.fail(0)
    library.paint(0, "b")
    library.bulk_create(["a", "b", "c"], 0, Item)
    library.upsert([1, 2], "c")
    library.bulk_update("c")
    library.update_book(1)
    for action in ("add", "remove", "set", "clear"):
        library.related(0, action, 0)
        library.tag(0, action, 0, reverse=action == "set")
    library.let_in(0, 0)
    library.turn_out(1)
    library.keep_parents(0)
    library.delete(Item, 0)
    library.delete_many(Item, "c")
    library.law()
    library.begin()
    library.law()
    library.teardown()


@pytest.mark.django_db(transaction=True)
def test_law():
    """
    After any sequence of operations, committed or rolled back, notifications and rows agree.
    """
    run_state_machine_as_test(
        Library,
        settings=settings(
            max_examples=5 * SEEDS,
            stateful_step_count=30,
            database=None,
            phases=[Phase.generate],
        ),
    )
