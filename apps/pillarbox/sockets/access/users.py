"""Users of the project, as the database has them."""

from typing import Any

from django.contrib.auth import get_user_model


def is_user(given: Any) -> bool:
    """
    Return whether an object is an authenticated user of the project. It may be lazy.

    An object of another model, or of none, isn't one: its primary key may be that of somebody else.
    """
    return isinstance(given, get_user_model()) and given.is_authenticated


def active_user(pk: Any) -> Any:
    """Return the user with this primary key; None if there is none, or if it is disabled."""
    user = get_user_model()._default_manager.filter(pk=pk).first()
    return user if user is not None and user.is_active else None


def password_of(user: Any) -> str | None:
    """Return the hash of a user's password; None if the project's users have none."""
    return getattr(user, "password", None)
