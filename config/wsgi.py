"""The WSGI application for gunicorn."""

import os

from django.core.wsgi import get_wsgi_application

from pillarbox.monitoring.probes.shared_metrics import share_metrics

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# Each of gunicorn's workers imports this module. They share a parent, and so their metrics.
share_metrics("web", os.getppid())
application = get_wsgi_application()
