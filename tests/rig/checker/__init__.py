"""The checker: compares the committed changes with the publications and with the deliveries to clients."""

from collections.abc import Iterable

from ..history import Committed, Published, Record
from .published import Skipped, check_published
from .recoveries import check_recoveries
from .result import ERRORS, SHOWN, Result
from .shown import check_shown

__all__ = ["ERRORS", "SHOWN", "Result", "check_history"]


def check_history(records: Iterable[Record], *, has_journal: bool = True) -> Result:
    """
    Check a history, in which changes are in commit order, and publications in the channel layer's order.

    Publications are not checked without a journal: the plain pattern has none.
    """
    history = list(records)
    committed = [record for record in history if isinstance(record, Committed)]
    result = Result(changes=len(committed))
    skipped: Skipped = set()
    if has_journal:
        published = [record for record in history if isinstance(record, Published)]
        skipped = check_published(committed, published, result)
    deliveries = check_shown(history, committed, skipped, result)
    check_recoveries(history, deliveries, result)
    return result
