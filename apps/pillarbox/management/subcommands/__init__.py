"""The subcommands of `manage.py pillarbox`, a module each."""
