"""Fixtures for rendering: an item, and other types for items."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS

from pillarbox.capture.triggers.installation import install
from pillarbox.models import NotificationOutbox
from pillarbox.types.registry import register, unregister
from tests.library.live import ItemType
from tests.library.models import Item, Shelf


@pytest.fixture
def item(db: None) -> Item:
    """Create an item on a shelf, and empty the outbox."""
    shelf = Shelf.objects.create(name="full")
    item = Item.objects.create(title="a", shelf=shelf)
    NotificationOutbox.objects.all().delete()
    return item


@pytest.fixture
def item_type(db: None) -> Iterator[Callable[..., None]]:
    """Return a function that replaces the type of items during the test."""

    def item_type(**attributes: Any) -> None:
        unregister("item")
        register(type("OtherItemType", (ItemType,), attributes))

    yield item_type
    unregister("item")
    register(ItemType)
    install(using=DEFAULT_DB_ALIAS)  # the order of the types has changed, and with it the function
