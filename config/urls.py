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

# Django looks for these here. While debugging it shows pages of its own for all but the forms.
handler400 = "apps.tickets.refusals.bad_request"
handler403 = "apps.tickets.refusals.forbidden"
handler404 = "apps.tickets.refusals.not_found"
handler500 = "apps.tickets.refusals.failed"
