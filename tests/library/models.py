import uuid

from django.db import models
from django.db.models.functions import Upper
from model_utils import FieldTracker


class Reader(models.Model):
    """Not live: what its deletion does to others is."""

    name = models.CharField(max_length=50)

    class Meta:
        ordering = ["pk"]


class Shelf(models.Model):
    """Its payload shows the titles of its items."""

    name = models.CharField(max_length=50)
    touched = models.DateTimeField(auto_now=True)
    readers = models.ManyToManyField(Reader, through="Pass", related_name="shelves")


class Pass(models.Model):
    """A relation with a table of its own."""

    shelf = models.ForeignKey(Shelf, models.CASCADE)
    reader = models.ForeignKey(Reader, models.CASCADE)
    level = models.IntegerField(default=0)


class Tag(models.Model):
    name = models.CharField(max_length=50)

    class Meta:
        ordering = ["pk"]


class Item(models.Model):
    """Without a tracker: each column counts."""

    title = models.CharField(max_length=50)
    count = models.IntegerField(default=0)
    price = models.DecimalField(max_digits=6, decimal_places=2, default=0)
    notes = models.JSONField(default=dict)
    shelf = models.ForeignKey(Shelf, models.CASCADE, null=True, related_name="items")
    borrower = models.ForeignKey(Reader, models.SET_NULL, null=True, related_name="borrowed")
    keeper = models.ForeignKey(
        Reader, models.SET_DEFAULT, null=True, default=None, related_name="kept"
    )
    tags = models.ManyToManyField(Tag, related_name="items")

    class Meta:
        ordering = ["pk"]


class Book(Item):
    """In two tables."""

    pages = models.IntegerField(default=0)


class Treasure(Item):
    """A proxy."""

    class Meta:
        proxy = True


class FairCards(models.Manager):
    """Leaves out what is worn."""

    def get_queryset(self):
        return super().get_queryset().filter(scratches__lt=100)


class Card(models.Model):
    """With a UUID as key, a unique number, a tracker, and a manager that hides rows even from Django."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    number = models.IntegerField(unique=True)
    colour = models.CharField(max_length=20, default="red")
    scratches = models.IntegerField(default=0)
    holder = models.ForeignKey(Reader, models.CASCADE, null=True)

    tracker = FieldTracker(fields=["number", "colour"])
    objects = models.Manager()
    fair = FairCards()

    class Meta:
        base_manager_name = "fair"


class GoldCard(Card):
    """A proxy of what has a tracker."""

    class Meta:
        proxy = True


class LowerField(models.CharField):
    """Stores text in lower case."""

    def get_prep_value(self, value):
        return super().get_prep_value(value).lower()


class VersionField(models.IntegerField):
    """Counts the saves."""

    def pre_save(self, model_instance, add):
        version = 1 if add else getattr(model_instance, self.attname) + 1
        setattr(model_instance, self.attname, version)
        return version


class Sign(models.Model):
    """Columns that make something else of what they are given, in a table with a schema."""

    address = models.GenericIPAddressField(null=True)
    text = LowerField(max_length=50, default="")
    data = models.JSONField(default=dict)
    version = VersionField(default=0)

    class Meta:
        db_table = 'public"."library_sign'


class Label(models.Model):
    """What counts is computed by the database."""

    title = models.CharField(max_length=50)
    upper = models.GeneratedField(
        expression=Upper("title"), output_field=models.CharField(max_length=50), db_persist=True
    )

    tracker = FieldTracker(fields=["upper"])


class SealedField(models.CharField):
    """Stores text that nobody can look for."""

    def get_prep_value(self, value):
        return value[::-1]

    def from_db_value(self, value, expression, connection):
        return value[::-1]

    def get_lookup(self, lookup_name):  # pragma: no cover  # no query may look for it
        return None


class Parcel(models.Model):
    """With a column that no condition can ask for; live only where a test says so."""

    title = models.CharField(max_length=50)
    seal = SealedField(max_length=50)

    tracker = FieldTracker(fields=["title", "seal"])


class Node(models.Model):
    """A tree, whose nodes show their children."""

    name = models.CharField(max_length=50)
    parent = models.ForeignKey("self", models.SET_NULL, null=True, related_name="children")


class Note(models.Model):
    """Not live, about what is."""

    shelf = models.ForeignKey(Shelf, models.SET_NULL, null=True)
    reader = models.ForeignKey(Reader, models.SET_NULL, null=True)
