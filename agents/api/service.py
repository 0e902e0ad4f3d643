"""Health, version, the OpenAPI schema and its page: for anybody, without a credential."""

from typing import ClassVar

import redis
import structlog
from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from drf_spectacular.utils import extend_schema_field, inline_serializer
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from agents.api.base import RestView
from agents.api.schema import operation

log = structlog.get_logger(__name__)


@extend_schema_field({"type": "string", "pattern": "^(ok|unavailable)$"})
class _State(serializers.CharField):
    """`ok` or `unavailable`."""


_HealthSerializer = inline_serializer("Health", {"status": _State(), "database": _State(), "redis": _State()})
_VersionSerializer = inline_serializer(
    "Version", {"version": serializers.CharField(), "api_version": serializers.CharField()}
)


class PublicView(RestView):
    """For anybody; a credential is not even looked at."""

    authentication_classes: ClassVar[list[type]] = []
    permission_classes = [AllowAny]


class HealthView(PublicView):
    @operation(
        "getHealth",
        "Whether it can serve",
        tag="service",
        response=_HealthSerializer,
        others={503: _HealthSerializer},
        public=True,
    )
    def get(self, request: Request) -> Response:
        parts = {"database": _database_answers(), "redis": _redis_answers()}
        states = {name: "ok" if answers else "unavailable" for name, answers in parts.items()}
        healthy = all(parts.values())
        return Response({"status": "ok" if healthy else "unavailable", **states}, status=200 if healthy else 503)


class VersionView(PublicView):
    @operation("getVersion", "What is running", tag="service", response=_VersionSerializer, public=True)
    def get(self, request: Request) -> Response:
        return Response({"version": settings.VERSION, "api_version": settings.API_VERSION})


class SchemaView(SpectacularAPIView):
    authentication_classes: ClassVar[list[type]] = []
    permission_classes = [AllowAny]


class DocsView(SpectacularSwaggerView):
    authentication_classes: ClassVar[list[type]] = []
    permission_classes = [AllowAny]


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return cursor.fetchone() == (1,)
    except DatabaseError as error:
        log.error("the database does not answer", exc_info=error)
        return False


def _redis_answers() -> bool:
    try:
        cache.get("health")
    except (redis.RedisError, OSError) as error:
        log.error("redis does not answer", exc_info=error)
        return False
    return True
