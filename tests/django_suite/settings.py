"""Settings that Django's `runtests.py` completes."""

import os

import django
from environs import Env

env = Env()
database = env.dj_db_url("DATABASE_URL", "postgresql:///test")
DATABASES = {
    "default": database,
    "other": database | {"NAME": f"{database['NAME']}_other"},
}
SECRET_KEY = os.environ.get("SECRET_KEY", "")
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
if django.VERSION < (6, 0):
    DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
TEST_RUNNER = "tests.django_suite.runner.RunnerWithoutChecks"
