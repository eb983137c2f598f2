"""Models that read their columns while an instance is made are rendered without deferred columns."""

import pytest
from django.db import models
from django.db.models.signals import post_init

from pillarbox.models import NotificationOutbox
from pillarbox.stream.rendering.renderer import render_batch
from tests.registration import library_model, registered, tables, type_of
from tests.rendering import USING

pytestmark = pytest.mark.django_db(transaction=True)


def remember(instance, **_):
    """Note the columns of a new instance, as many models do to detect changes."""
    instance.noted = instance.pages, instance.colour


def remembering_init(self, *args, **kwargs):
    models.Model.__init__(self, *args, **kwargs)
    remember(self)


def guarded_init(self, *args, **kwargs):
    try:
        remembering_init(self, *args, **kwargs)
    except Exception as error:
        raise ValueError("Not made.") from error


INITS = {"__init__": remembering_init, "a guarded __init__": guarded_init}


@pytest.fixture(params=[*INITS, "post_init"])
def eager(request):
    """Yield a model that notes its columns, in one of three ways."""
    code = {"__init__": INITS[request.param]} if request.param in INITS else {}
    model = library_model(
        "Thing",
        title=models.TextField(),
        pages=models.IntegerField(),
        colour=models.TextField(db_column="now"),
        **code,
    )
    if request.param == "post_init":
        post_init.connect(remember, sender=model)
    yield model
    post_init.disconnect(remember, sender=model)


@pytest.mark.parametrize("has_image", [True, False])
@pytest.mark.parametrize("omit", [(), ("pages", "colour")], ids=["not shown", "omitted"])
def test_columns_that_an_image_lacks(
    eager, execute, django_assert_max_num_queries, omit, has_image
):
    """
    They are those of the current row, and are read by the batch's own queries. Others are the image's.
    """
    seen = []

    def payload(self, instance):
        seen.append((instance.title, *instance.noted))
        return {"title": instance.title}

    fields = {"fields": ["title"], "payload_fields": lambda self: frozenset({"title"})}
    with tables(eager), registered(type_of(eager, payload=payload, omit=omit, **fields)):
        execute(
            "INSERT INTO library_thing (title, pages, now)"
            " SELECT 'old', number, 'red' FROM generate_series(1, 100) AS number"
        )
        execute("UPDATE library_thing SET title = 'new', pages = 0")
        NotificationOutbox.objects.update(shard=3)
        if not has_image:
            NotificationOutbox.objects.update(image=None, transaction=None)
        with django_assert_max_num_queries(30):
            assert 200 == render_batch(3, **USING)
    assert {("old" if has_image else "new", 0, "red"), ("new", 0, "red")} == set(seen)
