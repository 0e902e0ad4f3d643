"""The route table: every path the product answers."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("streams.urls")),
    path("api/", include("streams.api_urls")),
    path("api/", include("agents.api.urls")),
    path("staff/", admin.site.urls),
    path("", include("agents.pages_urls")),
]
