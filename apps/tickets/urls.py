from django.urls import include, path
from rest_framework.authtoken.views import obtain_auth_token
from rest_framework.routers import DefaultRouter

from .views import ProjectViewSet, TicketViewSet

router = DefaultRouter()
router.register("projects", ProjectViewSet)
router.register("tickets", TicketViewSet)

urlpatterns = [
    path("", include(router.urls)),
    path("token/", obtain_auth_token),
]
