"""A subcommand of `manage.py pillarbox` as another package might register it."""

from django.db import connection

HELP = "Say a number."


def add_arguments(parser):
    parser.add_argument("--number", type=int, default=0)
    parser.add_argument("--interrupt", action="store_true")
    parser.add_argument("--sql")


def run(options, stdout):
    if options["interrupt"]:
        raise KeyboardInterrupt
    if options["sql"]:
        with connection.cursor() as cursor:
            cursor.execute(options["sql"])
    stdout.write(f"elsewhere: {options['number']}")
    return 1
