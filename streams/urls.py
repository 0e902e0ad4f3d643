"""The stream routes as they look behind the edge: secrets are no longer in the path."""

from django.urls import re_path

from streams import views

_AGENT = r"^api/streams/[^/]+/(?P<agent>[^/]+)(?:/test)?"

urlpatterns = [
    re_path(_AGENT + r"/(?P<chat>[^/]+)/stream/?$", views.reattach),
    re_path(_AGENT + r"/(?P<chat>[^/]+)/stop/?$", views.stop),
    re_path(_AGENT + r"/?$", views.open_turn),
]
