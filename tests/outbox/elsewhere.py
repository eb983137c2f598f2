"""A subcommand of `manage.py outbox` as another room might have it."""

HELP = "Say a number."


def add_arguments(parser):
    parser.add_argument("--number", type=int, default=0)
    parser.add_argument("--interrupt", action="store_true")


def run(options, stdout):
    if options["interrupt"]:
        raise KeyboardInterrupt
    stdout.write(f"elsewhere: {options['number']}")
    return 1
