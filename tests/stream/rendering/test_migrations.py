"""A migration changes the table between a change and its rendering."""

from contextlib import contextmanager

import pytest
from django.db import models

from pillarbox.models import NotificationOutbox
from tests.registration import library_model, live_model, registered, type_of

pytestmark = pytest.mark.django_db(transaction=True)

ALTER = "ALTER TABLE library_thing"


@contextmanager
def migrated(**fields):
    """Let the code of after the migration render: its model of the table has these fields."""
    meta = {"db_table": "library_thing", "managed": False}
    after = library_model("MigratedThing", meta=meta, **fields)
    with registered(type_of(after, name="thing")):
        yield
    after._meta.apps.all_models["library"].pop("migratedthing")
    after._meta.apps.clear_cache()


@pytest.fixture
def thing(execute):
    """Create an object whose image has the title "old", and whose current title is "new"."""
    with live_model(
        title=models.CharField(max_length=20), pages=models.IntegerField(default=1)
    ) as model:
        thing = model.objects.create(title="old")
        execute("UPDATE library_thing SET title = 'new', pages = 2")
        yield thing
    execute("DROP DOMAIN IF EXISTS library_pages")


TITLE = {"title": models.CharField(max_length=20)}


@pytest.mark.parametrize(
    ("ddl", "fields", "shown"),
    [
        pytest.param(
            [f"{ALTER} ADD COLUMN colour text DEFAULT 'red'"],
            {**TITLE, "colour": models.TextField()},
            [{"title": "old", "colour": "red"}, {"title": "new", "colour": "red"}],
            id="a column is added",
        ),
        pytest.param(
            [f"{ALTER} DROP COLUMN pages"],
            TITLE,
            [{"title": "old"}, {"title": "new"}],
            id="dropped",
        ),
        pytest.param(
            [f"{ALTER} RENAME COLUMN title TO heading"],
            {"heading": models.TextField(), "pages": models.IntegerField()},
            [{"heading": "new", "pages": 1}, {"heading": "new", "pages": 2}],
            id="renamed",
        ),
        pytest.param(
            # The image has a column of this name, with what is another column's value now.
            [f"{ALTER} DROP COLUMN pages", f"{ALTER} RENAME COLUMN title TO pages"],
            {"pages": models.TextField()},
            [{"pages": "1"}, {"pages": "2"}],
            id="renamed to the name of a dropped one",
        ),
        pytest.param(
            [f"{ALTER} ALTER COLUMN pages TYPE text"],
            {**TITLE, "pages": models.TextField()},
            [{"title": "old", "pages": "1"}, {"title": "new", "pages": "2"}],
            id="of another type, to which the image can be converted",
        ),
        pytest.param(
            [f"{ALTER} ALTER COLUMN title TYPE int USING length(title)"],
            {"title": models.IntegerField(), "pages": models.IntegerField()},
            [{"title": 3, "pages": 2}] * 2,
            id="of another type, to which it can't",
        ),
        pytest.param(
            ["UPDATE library_thing SET title = 'n'", f"{ALTER} ALTER COLUMN title TYPE varchar(1)"],
            {"title": models.CharField(max_length=1)},
            [{"title": "n"}] * 3,
            id="too short for the image",
        ),
        pytest.param(
            [
                "CREATE DOMAIN library_pages AS int CHECK (VALUE > 1)",
                f"{ALTER} ALTER COLUMN pages TYPE library_pages",
            ],
            {**TITLE, "pages": models.IntegerField()},
            [{"title": "new", "pages": 2}] * 2,
            id="of a type whose check the image violates",
        ),
        pytest.param(
            [f"{ALTER} RENAME COLUMN id TO number"],
            {"number": models.BigAutoField(primary_key=True), **TITLE},
            [{"title": "new"}] * 2,
            id="the key is renamed",
        ),
    ],
)
def test_columns(thing, execute, rendered, ddl, fields, shown):
    """
    A row shows the columns that its image and the table both have as they were; other columns, and rows whose
    image can't be read any more, as they are.
    """
    for statement in ddl:
        execute(statement)
    with migrated(**fields):
        payloads = [payload for *_, payload in rendered(stream=f"thing:{thing.pk}")]
    assert shown == [{name: one[name] for name in shown[0]} for one in payloads]
    assert not NotificationOutbox.objects.filter(attempts__gt=0).exists()
