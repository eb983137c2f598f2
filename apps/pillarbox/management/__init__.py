"""The command line: `manage.py pillarbox`."""
