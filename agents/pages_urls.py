"""The pages of `agents.pages`."""

from django.urls import path

from agents import pages

urlpatterns = [
    path("", pages.home, name="home"),
    path("sign-in/<str:token>", pages.sign_in_by_link, name="sign-in"),
    path("sign-out", pages.sign_out, name="sign-out"),
]
