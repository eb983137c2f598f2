"""A progress bar on a terminal, or occasional lines if the output is not a terminal."""

import time

from django.core.management.base import OutputWrapper

WIDTH = 30
#: The shortest intervals between updates of the bar, and between lines.
BAR_SECONDS, LINE_SECONDS = 0.1, 5.0


class Progress:
    """The progress of a task with a known total. On a terminal one line is overwritten."""

    def __init__(self, stdout: OutputWrapper, total: int) -> None:
        self._stdout, self._total = stdout, total
        self._is_terminal = stdout.isatty()
        self._next = 0.0

    def show(self, done: int, words: str = "") -> None:
        """Show the progress, unless the last update was a moment ago."""
        now = time.monotonic()
        if now < self._next:
            return
        share = min(1.0, done / self._total) if self._total else 1.0
        if self._is_terminal:
            self._next = now + BAR_SECONDS
            bar = "█" * round(WIDTH * share)
            line = f"\r{bar:·<{WIDTH}} {share:4.0%}  {done} of {self._total}  {words}"
            self._stdout.write(f"{line}\x1b[K", ending="")
            self._stdout.flush()
        else:
            self._next = now + LINE_SECONDS
            self._stdout.write(f"{done} of {self._total} {words}".rstrip())

    def close(self) -> None:
        """Clear the terminal's line."""
        if self._is_terminal:
            self._stdout.write("\r\x1b[K", ending="")
