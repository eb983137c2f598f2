"""``python -m pillarbox.server shop.asgi:application``: our Daphne, with Daphne's own options."""

import sys
from typing import Any

import django
from daphne.cli import CommandLineInterface
from daphne.utils import import_by_path


def main(arguments: list[str]) -> None:
    """Import the application, which names the project's settings; then serve until SIGTERM."""
    # Python buffers a stdout that is a pipe or a file, and Daphne's access log would appear late.
    stdout: Any = sys.stdout
    stdout.reconfigure(line_buffering=True)
    import_by_path(CommandLineInterface().parser.parse_args(arguments).application)
    django.setup()
    # It imports models, and starts a thread that imports modules. Threads that import at once can fail.
    from .daphne import main as serve  # noqa: PLC0415

    serve(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
