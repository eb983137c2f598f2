"""The app config that gives Django's admin our site."""

from django.contrib.admin import apps


class AdministrationConfig(apps.AdminConfig):
    default_site = "config.admin.NotifierAdminSite"
