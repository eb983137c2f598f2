"""The project's Celery app."""

from celery import Celery

from pillarbox.schedule import beat_entries

app = Celery("guest")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf.beat_schedule |= beat_entries()
