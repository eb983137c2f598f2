"""The Python client of ``ws/notifications/``, for services and tests. Independent of Django."""
