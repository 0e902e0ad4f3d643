"""Routes that answer with and without a trailing slash; the schema knows the one without."""

from collections.abc import Callable

from django.http import HttpResponseBase
from django.urls.resolvers import RoutePattern, URLPattern


class _OptionalSlash(RoutePattern):
    def match(self, path: str) -> tuple[str, tuple[()], dict[str, object]] | None:
        return super().match(path.removesuffix("/"))


def route(pattern: str, view: Callable[..., HttpResponseBase], name: str | None = None) -> URLPattern:
    """As `django.urls.path`, of a `pattern` without a trailing slash."""
    return URLPattern(_OptionalSlash(pattern, name=name, is_endpoint=True), view, None, name)
