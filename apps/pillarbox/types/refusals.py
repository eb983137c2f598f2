"""Registrations that were refused while Django started, for the system check and the start of processes."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.apps import apps

from ..exceptions import RegistrationError

#: The errors, in the order of the registrations.
refusals: list[RegistrationError] = []


@contextmanager
def collected() -> Iterator[None]:
    """Collect a RegistrationError of the block while Django starts. After that, let it through."""
    try:
        yield
    except RegistrationError as error:
        if apps.ready:
            raise
        refusals.append(error)


def require_registrations() -> None:
    """Raise RegistrationError if a registration was refused. Processes that run no checks call it first."""
    if refusals:
        raise RegistrationError(" ".join(map(str, refusals)))
