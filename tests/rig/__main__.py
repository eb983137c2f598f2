"""The entry point of `python -m tests.rig`."""

import os
import sys

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from tests.rig.command import main

    sys.exit(main(sys.argv[1:]))
