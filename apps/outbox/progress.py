"""A bar in a terminal, or a line now and then where there is none."""

import time

from django.core.management.base import OutputWrapper

WIDTH = 30
#: On a terminal the bar moves so often; elsewhere there is a line so often.
BAR_SECONDS, LINE_SECONDS = 0.1, 5.0


class Progress:
    """Shows how far something came. On a terminal one line is written over and over."""

    def __init__(self, stdout: OutputWrapper, total: int) -> None:
        self._stdout, self._total = stdout, total
        self._is_terminal = stdout.isatty()
        self._next = 0.0

    def show(self, done: int, words: str = "") -> None:
        """Show that so much is done, unless something was shown a moment ago."""
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
        """Leave the terminal's line."""
        if self._is_terminal:
            self._stdout.write("\r\x1b[K", ending="")
