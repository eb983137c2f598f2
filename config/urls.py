"""The URLs that are served over HTTP."""

from django.contrib import admin
from django.contrib.auth.views import LoginView
from django.urls import include, path

from apps.tickets.throttling import throttled
from apps.tickets.urls import page_urls

urlpatterns = [
    path("", include(page_urls)),
    path("admin/", admin.site.urls),
    path("api/", include("apps.tickets.urls")),
    path("api/", include("pillarbox.urls")),
    # Before DRF's own sign-in, which has no limit.
    path(
        "api/auth/login/", throttled(LoginView.as_view(template_name="rest_framework/login.html"))
    ),
    path("api/auth/", include("rest_framework.urls")),
]

# Django looks for these names here. In debug mode it uses them only for forged forms.
handler400 = "apps.tickets.refusals.bad_request"
handler403 = "apps.tickets.refusals.forbidden"
handler404 = "apps.tickets.refusals.not_found"
handler500 = "apps.tickets.refusals.failed"
