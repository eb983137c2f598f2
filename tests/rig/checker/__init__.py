"""The checker: what was committed against what was published, and against what each client was shown."""

from collections.abc import Iterable

from ..history import Committed, Published, Record
from .published import judge_published
from .recoveries import judge_recoveries
from .result import ERRORS, SHOWN, Result
from .shown import judge_shown

__all__ = ["ERRORS", "SHOWN", "Result", "judge"]


def judge(records: Iterable[Record], *, has_journal: bool = True) -> Result:
    """
    Judge a history. Committed changes stand in it in commit order, publications in the layer's.

    Without a journal, as the plain pattern has none, publications are not judged.
    """
    history = list(records)
    committed = [record for record in history if isinstance(record, Committed)]
    result = Result(changes=len(committed))
    if has_journal:
        published = [record for record in history if isinstance(record, Published)]
        judge_published(committed, published, result)
    deliveries = judge_shown(history, committed, result)
    judge_recoveries(history, deliveries, result)
    return result
