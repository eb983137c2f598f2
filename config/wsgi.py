"""HTTP, for gunicorn."""

import os

from django.core.wsgi import get_wsgi_application

from workers.tallies import count_together

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# Each of gunicorn's workers imports this: they are children of one process.
count_together("web", os.getppid())
application = get_wsgi_application()
