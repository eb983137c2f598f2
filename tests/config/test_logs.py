"""A log line: a sentence, and the record's own fields."""

import logging

from config.logs import FieldsFormatter, RarelyFilter


def test_fields_follow_the_sentence():
    """
    What came with ``extra`` is shown by name; what every record has is not.
    """
    record = logging.makeLogRecord({"msg": "Drained", "action": "drained", "published": 2})
    assert "Drained action=drained published=2" == FieldsFormatter("%(message)s").format(record)


def test_a_sentence_that_is_said_again_and_again_is_let_through_rarely():
    """
    An outage is a line a minute, other sentences are heard, and so is the next outage.
    """
    rarely = RarelyFilter(seconds=60)
    said = [
        rarely.filter(logging.makeLogRecord({"msg": sentence, "created": moment}))
        for sentence, moment in [("a %s", 0), ("a %s", 1), ("b", 2), ("a %s", 59), ("a %s", 60)]
    ]
    assert [True, False, True, False, True] == said
