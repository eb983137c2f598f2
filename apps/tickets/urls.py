from django.contrib.auth.views import LogoutView
from django.urls import include, path
from rest_framework.routers import DefaultRouter

from . import forms, pages
from .views import ProjectViewSet, TicketViewSet, TokenView

router = DefaultRouter()
router.register("projects", ProjectViewSet)
router.register("tickets", TicketViewSet)

urlpatterns = [
    path("", include(router.urls)),
    path("token/", TokenView.as_view()),
]

page_urls = [
    path("", pages.projects, name="projects"),
    path("projects/<str:public_id>/add/", forms.add, name="add"),
    path("tickets/<str:public_id>/", pages.ticket, name="ticket"),
    path("tickets/<str:public_id>/edit/", forms.edit, name="edit"),
    path("tickets/<str:public_id>/delete/", pages.delete, name="delete"),
    path("sign-in/", pages.sign_in, name="sign-in"),
    path("sign-out/", LogoutView.as_view(next_page="sign-in"), name="sign-out"),
]
