"""The processes: the Celery app, its tasks, and the relay between outbox and channel layer."""
