"""What answers on HTTP."""

from django.contrib import admin
from django.urls import include, path

from apps.tickets.urls import page_urls

urlpatterns = [
    path("", include(page_urls)),
    path("admin/", admin.site.urls),
    path("api/", include("apps.tickets.urls")),
    path("api/auth/", include("rest_framework.urls")),
]
