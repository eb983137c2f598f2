"""Django's own tests, run with every model of theirs live: `python -m tests.django_suite`."""
