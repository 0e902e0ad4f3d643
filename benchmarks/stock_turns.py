"""The product's own job as a Django project usually does it: the seven middleware, the ORM through `sync_to_async`, row
locks around the balance. Credential, agent and price are looked up, credits held before and settled after."""

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "helpmaton.settings")
django.setup()

from asgiref.sync import sync_to_async  # noqa: E402
from django.conf import settings  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import timezone  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402

from agents import vault  # noqa: E402
from agents.models import StreamSecret  # noqa: E402
from benchmarks.pairs import orm_reserve, orm_settle  # noqa: E402
from benchmarks.relay import Relay, model_request, provider  # noqa: E402
from billing import prices  # noqa: E402
from streams.protocols.plain import PlainEncoder  # noqa: E402
from streams.providers.base import ModelRequest  # noqa: E402
from streams.providers.openai import OpenAIProvider  # noqa: E402

_provider: OpenAIProvider | None = None


def _open(secret: str) -> str | None:
    """The hold of a turn that may begin."""
    public_id = vault.public_id(secret, vault.STREAM_SECRET)
    found = StreamSecret.objects.select_related("agent__workspace__subscription__plan").get(public_id=public_id)
    if not vault.matches(secret, found.digest) or prices.current(found.agent.model, timezone.now()) is None:
        return None
    return orm_reserve(found.agent.workspace_id)


async def _frames(request: ModelRequest, hold: str) -> AsyncGenerator[bytes, None]:
    global _provider
    if _provider is None:
        _provider = provider()
    relay = Relay()
    try:
        async with aclosing(_provider.stream(request)) as answer:
            async for chunks in answer:
                if frames := relay.frames(chunks):
                    yield frames
    finally:
        await sync_to_async(orm_settle)(hold)


@csrf_exempt
async def turn(request: HttpRequest, workspace: str, agent: str, secret: str) -> HttpResponseBase:
    """One turn, as short as such a view can be."""
    hold = await sync_to_async(_open)(secret)
    if hold is None:
        return HttpResponse(status=401)
    return StreamingHttpResponse(_frames(model_request(request.body), hold), content_type=PlainEncoder.content_type)


urlpatterns = [path("api/streams/<workspace>/<agent>/<secret>", turn)]

settings.ROOT_URLCONF = __name__
settings.MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
application = get_asgi_application()
