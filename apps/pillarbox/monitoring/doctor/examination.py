"""The run of the checks, one after the other; a failing check doesn't stop the rest."""

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future

from django.db import connections

from ...formats import one_line
from .findings import Check, Finding, Needs, Outcome, Result, Severity


def examine(checks: Iterable[Check]) -> Iterator[Result]:
    """
    Yield the result of each check, in order. Never raises, and waits for no check beyond its time limit.

    A check is skipped if a check that it needs failed or was skipped, so one cause gives one finding.
    """
    missing: set[str] = set()
    for check in checks:
        reasons = [name for name in check.needs if name in missing]
        result = _skipped(check, *sorted(reasons)) if reasons else _result(check)
        if result.severity in {Severity.SKIPPED, Severity.FAIL}:
            missing.add(check.name)
        yield result


def _skipped(check: Check, *reasons: str) -> Result:
    summary = f"needs {', '.join(reasons)}"
    return Result(check=check.name, severity=Severity.SKIPPED, summary=summary)


def _result(check: Check) -> Result:
    start = time.monotonic()
    try:
        outcome = _outcome(check)
    except TimeoutError:
        outcome = [_hangs(check)]
    except Exception as error:  # noqa: BLE001  # the other checks must still run
        outcome = [_raised(error)]
    seconds = time.monotonic() - start
    if isinstance(outcome, Needs):
        return _skipped(check, outcome.check)
    if isinstance(outcome, str):
        return Result(check=check.name, severity=Severity.OK, summary=outcome, seconds=seconds)
    severity = max((finding.severity for finding in outcome), default=Severity.OK)
    return Result(check=check.name, severity=severity, findings=outcome, seconds=seconds)


def _outcome(check: Check) -> Outcome | Needs:
    """Return the check's outcome. Raises TimeoutError after its time limit, or the check's own error."""
    future: Future[Outcome | Needs] = Future()

    def look() -> None:
        try:
            future.set_result(check.run())
        except BaseException as error:  # noqa: BLE001  # raised again by `result`
            future.set_exception(error)
        finally:
            connections.close_all()

    # A hung thread can't be stopped. As a daemon it doesn't keep the command from ending.
    threading.Thread(target=look, name=f"doctor-{check.name}", daemon=True).start()
    return future.result(check.seconds)


def _hangs(check: Check) -> Finding:
    return Finding(
        what=f"It did not answer within {check.seconds:g} seconds.",
        why="The site's processes that use it wait as long.",
        cure="Find out whether its host is overloaded or frozen, or whether the network drops packets.",
        is_grave=True,
    )


def _raised(error: Exception) -> Finding:
    return Finding(
        what=f"The check itself failed: {type(error).__name__}: {one_line(error)}",
        why="The state of what it checks is unknown.",
        cure="If the message isn't enough, look at the server's log.",
    )
