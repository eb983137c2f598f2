import uuid

from django.conf import settings
from django.db import models
from django.db.models.functions import Upper
from model_utils import FieldTracker


class Reader(models.Model):
    """A model that isn't live. Its deletion changes live objects."""

    name = models.CharField(max_length=50)

    class Meta:
        ordering = ["pk"]


class Shelf(models.Model):
    """A model whose payload includes the titles of its items."""

    name = models.CharField(max_length=50)
    touched = models.DateTimeField(auto_now=True)
    readers = models.ManyToManyField(Reader, through="Pass", related_name="shelves")


class Pass(models.Model):
    """A relation with its own table."""

    shelf = models.ForeignKey(Shelf, models.CASCADE)
    reader = models.ForeignKey(Reader, models.CASCADE)
    level = models.IntegerField(default=0)


class Tag(models.Model):
    name = models.CharField(max_length=50)

    class Meta:
        ordering = ["pk"]


class Item(models.Model):
    """A model without a tracker, so that each column counts."""

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
    """A model with rows in two tables."""

    pages = models.IntegerField(default=0)


class Treasure(Item):
    """A proxy."""

    class Meta:
        proxy = True


class FairCards(models.Manager):
    """A manager that leaves out worn cards."""

    def get_queryset(self):
        return super().get_queryset().filter(scratches__lt=100)


class Card(models.Model):
    """A model with a UUID as key, a unique number, a tracker, and a base manager that hides rows."""

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
    """A proxy of a model with a tracker."""

    class Meta:
        proxy = True


class LowerField(models.CharField):
    """A field that stores text in lower case."""

    def get_prep_value(self, value):
        return super().get_prep_value(value).lower()


class MoneyField(models.DecimalField):
    """A field that chooses the type of its column."""

    def db_type(self, connection):
        return "money"


class VersionField(models.IntegerField):
    """A field that counts saves."""

    def pre_save(self, model_instance, add):
        version = 1 if add else getattr(model_instance, self.attname) + 1
        setattr(model_instance, self.attname, version)
        return version


class Sign(models.Model):
    """A model with fields that convert values, in a table with a schema."""

    address = models.GenericIPAddressField(null=True)
    text = LowerField(max_length=50, default="")
    data = models.JSONField(default=dict)
    version = VersionField(default=0)

    class Meta:
        db_table = 'public"."library_sign'


class Label(models.Model):
    """A model whose compared column is computed by the database."""

    title = models.CharField(max_length=50)
    upper = models.GeneratedField(
        expression=Upper("title"), output_field=models.CharField(max_length=50), db_persist=True
    )

    tracker = FieldTracker(fields=["upper"])


class Node(models.Model):
    """A tree, whose nodes include their children in the payload."""

    name = models.CharField(max_length=50)
    parent = models.ForeignKey("self", models.SET_NULL, null=True, related_name="children")


class Series(models.Model):
    """A model whose foreign keys and relations refer to its code. Its payload includes its volumes."""

    code = models.CharField(max_length=20, unique=True)
    tags = models.ManyToManyField(Tag, through="SeriesTag")
    editors = models.ManyToManyField(settings.AUTH_USER_MODEL, through="Editor")


class SeriesTag(models.Model):
    series = models.ForeignKey(Series, models.CASCADE, to_field="code")
    tag = models.ForeignKey(Tag, models.CASCADE)


class Editor(models.Model):
    """A right that names its user by username."""

    series = models.ForeignKey(Series, models.CASCADE, to_field="code")
    # The app's tables are made before those of apps with migrations.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, to_field="username", db_constraint=False
    )


class Volume(models.Model):
    title = models.CharField(max_length=50)
    series = models.ForeignKey(Series, models.CASCADE, to_field="code", related_name="volumes")
