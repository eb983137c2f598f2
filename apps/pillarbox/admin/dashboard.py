"""The dashboard above the admin's list of rows, and the views that its script refreshes it from."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET

from ..monitoring import dashboard


class Dashboard(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """The dashboard's views. Users need the permission to view rows."""

    def get_urls(self) -> list[URLPattern]:
        """Return the dashboard's URLs first, because the parent's URL of a row matches any path."""
        parts = {"panel": self.panel_view, "charts": self.charts_view, "causes": self.causes_view}
        own = [
            path(f"{name}/", self._guarded(view), name=f"{self._name}_{name}")
            for name, view in parts.items()
        ]
        return [*own, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Return the list of rows with the dashboard above it."""
        parts = self._panel(request) | dashboard.charts(using=self._using(request))
        seconds = {
            "panel_seconds": dashboard.PANEL_SECONDS,
            "charts_seconds": dashboard.CHARTS_SECONDS,
        }
        return super().changelist_view(request, {**parts, **seconds, **(extra_context or {})})

    def panel_view(self, request: HttpRequest) -> HttpResponse:
        """Return the status, the figures and the causes as an HTML fragment for the script."""
        return TemplateResponse(request, "pillarbox/panel.html", self._panel(request))

    def charts_view(self, request: HttpRequest) -> HttpResponse:
        """Return the charts as an HTML fragment for the script."""
        context = dashboard.charts(using=self._using(request))
        return TemplateResponse(request, "pillarbox/charts.html", context)

    def causes_view(self, request: HttpRequest) -> HttpResponse:
        """Return the page that lists all causes of failures."""
        found = dashboard.all_causes(request.user, using=self._using(request))
        context = {
            **self.admin_site.each_context(request),
            "title": "Failures by cause",
            "opts": self.opts,
            **found,
        }
        return TemplateResponse(request, "pillarbox/causes.html", context)

    @property
    def _name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}"

    def _guarded(self, view: Callable[[HttpRequest], HttpResponse]) -> Callable[..., HttpResponse]:
        def guarded(request: HttpRequest) -> HttpResponse:
            if not self.has_view_permission(request):
                raise PermissionDenied
            return view(request)

        return self.admin_site.admin_view(require_GET(guarded))

    def _panel(self, request: HttpRequest) -> dict[str, Any]:
        return dashboard.panel(request.user, using=self._using(request))

    def _using(self, request: HttpRequest) -> str:
        return self.get_queryset(request).db
