"""What answers on HTTP."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(url="/api/")),
    path("admin/", admin.site.urls),
    path("api/", include("apps.tickets.urls")),
    path("api/auth/", include("rest_framework.urls")),
]
