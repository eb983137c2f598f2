"""The examination: one check after the other, whatever becomes of each."""

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future

from django.db import connections

from .findings import Answer, Check, Finding, Result, Verdict


def examine(checks: Iterable[Check]) -> Iterator[Result]:
    """
    Yield what becomes of each check, in order. Never raises, never waits longer than a check may take.

    A check that needs one that fails, or was itself skipped, is skipped: one cause is one finding.
    """
    missing: set[str] = set()
    for check in checks:
        if reasons := [name for name in check.needs if name in missing]:
            result = Result(
                check=check.name,
                verdict=Verdict.SKIPPED,
                seen=f"needs {', '.join(sorted(reasons))}",
            )
        else:
            result = _result(check)
        if result.verdict in {Verdict.SKIPPED, Verdict.FAIL}:
            missing.add(check.name)
        yield result


def _result(check: Check) -> Result:
    start = time.monotonic()
    try:
        answer = _answer(check)
    except TimeoutError:
        answer = [_hangs(check)]
    except Exception as error:  # noqa: BLE001  # whatever it is, the other checks are to be made
        answer = [_raised(error)]
    seconds = time.monotonic() - start
    if isinstance(answer, str):
        return Result(check=check.name, verdict=Verdict.OK, seen=answer, seconds=seconds)
    verdict = max((finding.verdict for finding in answer), default=Verdict.OK)
    return Result(check=check.name, verdict=verdict, findings=answer, seconds=seconds)


def _answer(check: Check) -> Answer:
    """Return what the check says. Raises TimeoutError after its time, or what it raises."""
    future: Future[Answer] = Future()

    def look() -> None:
        try:
            future.set_result(check.look())
        except BaseException as error:  # noqa: BLE001  # it is raised where somebody waits for it
            future.set_exception(error)
        finally:
            connections.close_all()

    # A thread that hangs can't be ended; being a daemon, it ends with the command.
    threading.Thread(target=look, name=f"doctor-{check.name}", daemon=True).start()
    return future.result(check.seconds)


def _hangs(check: Check) -> Finding:
    return Finding(
        what=f"It did not answer within {check.seconds:g} seconds.",
        why="Whoever asks it in earnest waits as long.",
        cure="See whether its host is overloaded, frozen, or behind a network that swallows packets.",
        is_grave=True,
    )


def _raised(error: Exception) -> Finding:
    words = " ".join(str(error).split())
    return Finding(
        what=f"The check itself failed: {type(error).__name__}: {words}",
        why="How it stands with what it looks at is unknown.",
        cure="If the message doesn't say enough, look at the server's log.",
    )
