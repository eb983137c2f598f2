"""Settings are read at each use, and a typo is noticed."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from apps.outbox.conf import outbox_settings
from apps.realtime.conf import realtime_settings


@pytest.mark.parametrize(
    ("name", "read"), [("OUTBOX", outbox_settings), ("REALTIME", realtime_settings)]
)
class TestSettings:
    def test_unknown_key_is_named(self, settings, name, read):
        """
        A key that doesn't exist is an error that names it.
        """
        setattr(settings, name, {"BATCH_ROW": 1})
        with pytest.raises(ImproperlyConfigured, match=f"{name} has no setting BATCH_ROW"):
            read()

    def test_there_are_defaults(self, settings, name, read):
        """
        Nothing has to be set.
        """
        delattr(settings, name)
        assert read() == type(read())()
