"""The REST endpoints, for a project that includes them."""

from django.urls import path

from .views import OneTimeTokenView

urlpatterns = [path("one-time-token/", OneTimeTokenView.as_view(), name="pillarbox-one-time-token")]
