"""The language and the time zone in which the project's code renders."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.utils import timezone, translation


@contextmanager
def project_locale() -> Iterator[None]:
    """Activate the language and time zone of the project's settings within the block."""
    with translation.override(settings.LANGUAGE_CODE), timezone.override(None):
        yield
