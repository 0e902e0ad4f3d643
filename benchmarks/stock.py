"""Django as `startproject` makes it, with its seven middleware, relaying the same answers: settings, view and ASGI
application in one module. No credential, no credits."""

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing

import django
from django.conf import settings
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from benchmarks.relay import Relay, model_request, provider
from streams.protocols.plain import PlainEncoder
from streams.providers.base import ModelRequest
from streams.providers.openai import OpenAIProvider

_provider: OpenAIProvider | None = None


async def _frames(request: ModelRequest) -> AsyncGenerator[bytes, None]:
    global _provider
    if _provider is None:
        _provider = provider()
    relay = Relay()
    async with aclosing(_provider.stream(request)) as answer:
        async for chunks in answer:
            if frames := relay.frames(chunks):
                yield frames


@csrf_exempt
async def relay_view(request: HttpRequest, path: str) -> StreamingHttpResponse:
    """Answers whatever the path."""
    return StreamingHttpResponse(_frames(model_request(request.body)), content_type=PlainEncoder.content_type)


urlpatterns = [path("<path:path>", relay_view)]

if not settings.configured:
    settings.configure(
        SECRET_KEY=os.environ.get("SECRET_KEY", "benchmark"),
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
            "django.contrib.staticfiles",
        ],
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
        ],
        USE_TZ=True,
    )
    django.setup()

    from django.core.asgi import get_asgi_application

    application = get_asgi_application()
