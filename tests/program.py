"""A program that runs beside a test, and what it prints."""

import re
import subprocess
import sys
import threading

from django.conf import settings

from tests.waiting import PATIENCE, wait_until


class Program:
    """A program of this repository, by Python's arguments and its environment, with its output."""

    def __init__(self, arguments, environment):
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=settings.BASE_DIR,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.printed = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.printed += line

    def until(self, pattern):
        """Wait until the output matches a pattern. Fails if the program ends before."""
        found = re.compile(pattern).search
        wait_until(lambda: found(self.printed) or self.process.poll() is not None, pattern)
        assert found(self.printed), self.printed

    def ended(self, seconds=PATIENCE):
        """Wait for the end of the program, and of its output; return the exit code."""
        code = self.process.wait(seconds)
        self._reader.join()
        self.process.stdout.close()
        return code
