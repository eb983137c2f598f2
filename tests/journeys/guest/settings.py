"""The settings of a project whose Celery would keep our tasks from running, if they applied to them."""

from config.settings import *  # noqa: F403

PILLARBOX = {**PILLARBOX, "CELERY_APP": "tests.journeys.guest.app.app"}  # noqa: F405

CELERY_BROKER_TRANSPORT_OPTIONS = {"global_keyprefix": "guest."}
CELERY_TASK_DEFAULT_QUEUE = "theirs"
CELERY_TASK_ROUTES = {"*": {"queue": "other"}}
CELERY_TASK_SERIALIZER = "pickle"
CELERY_ACCEPT_CONTENT = ["pickle"]
CELERY_RESULT_BACKEND = "redis://127.0.0.1:1"
CELERY_TASK_IGNORE_RESULT = False
CELERY_TASK_TRACK_STARTED = True
CELERY_TASK_STORE_ERRORS_EVEN_IF_IGNORED = True
CELERY_TASK_ALWAYS_EAGER = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_ANNOTATIONS = {"*": {"rate_limit": "1/h", "soft_time_limit": 1}}
CELERY_TASK_DEFAULT_RATE_LIMIT = "1/h"
CELERY_TASK_TIME_LIMIT = 1
CELERY_TASK_SEND_SENT_EVENT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 4
CELERY_ENABLE_UTC = False
CELERY_TIMEZONE = "Asia/Tokyo"
CELERY_BEAT_SCHEDULER = "celery.beat:PersistentScheduler"
