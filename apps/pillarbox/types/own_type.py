"""The type of users' own streams."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models

from .object_types import ObjectType


class OwnType(ObjectType):
    """The type of each user's own stream, ``me``, which has only what `announce` writes to the user."""

    name = "me"

    @cached_property
    def model(self) -> type[models.Model]:
        return get_user_model()

    def visible_to(self, user: Any) -> models.QuerySet[Any]:
        return self.model._default_manager.filter(pk=user.pk)

    def payload(self, instance: models.Model) -> Mapping[str, Any]:
        return {"id": self.name}

    def public_id(self, pk: Any) -> str:
        # Only the user reads this stream, so the id needn't tell users apart.
        return self.name

    def key(self, public_id: str) -> Any:
        return self.name if public_id == self.name else None
