"""A program that prints the facts it can depend on, and ends in the way its last argument names."""

import json
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

ENDS = {
    "well": lambda: None,
    "with a code": lambda: sys.exit(3),
    "with a sentence": lambda: sys.exit("It is enough."),
    "by an error": lambda: 1 / 0,
    "at once": lambda: os._exit(4),
    "by a signal": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def named(handler):
    """Return a handler's name: the text of a method has an address in it."""
    return getattr(handler, "__name__", str(handler))


def seen():
    """Return the facts about its process that a program may depend on."""
    return {
        "name": __name__,
        "is main": sys.modules["__main__"].__dict__ is globals(),
        "arguments": sys.argv,
        "path": sys.path,
        "environment": dict(os.environ),
        "folder": str(Path.cwd()),
        "temporary folder": tempfile.gettempdir(),
        "leads a session": os.getsid(0) == os.getpid(),
        "signals": {each.name: named(signal.getsignal(each)) for each in signal.Signals},
        "files": sorted(each.name for each in Path("/proc/self/fd").iterdir()),
        "threads": threading.active_count(),
        "input": sys.stdin.read(),
    }


if __name__ == "__main__":
    print(json.dumps(seen(), indent=1))
    print("an error", file=sys.stderr)
    ENDS[sys.argv[1]]()
