"""A log line: a sentence, and the record's own fields."""

import logging

from config.logs import FieldsFormatter


def test_fields_follow_the_sentence():
    """
    What came with ``extra`` is shown by name; what every record has is not.
    """
    record = logging.makeLogRecord({"msg": "Drained", "action": "drained", "published": 2})
    assert "Drained action=drained published=2" == FieldsFormatter("%(message)s").format(record)
