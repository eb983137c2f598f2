"""This project's Celery app, with its schedule and its connection to the broker."""
