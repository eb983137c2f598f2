"""Tests of the loggers of the package."""

import logging

from pillarbox.logs import get_logger

logger = get_logger(__name__)


def test_fields_have_the_prefix(caplog):
    """
    Each field has the prefix; the message and the logger's name are as they were.
    """
    with caplog.at_level(logging.INFO, __name__):
        logger.info("%d rows", 2, extra={"rows": 2})
    (record,) = caplog.records
    assert ("2 rows", 2, __name__) == (record.message, record.pillarbox_rows, record.name)


def test_a_message_without_fields(caplog):
    """
    A message needs no fields.
    """
    logger.warning("Alone")
    assert ["Alone"] == [record.message for record in caplog.records]
