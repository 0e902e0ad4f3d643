"""Members who come with a session cookie: Django's own sessions and CSRF check, on a small executor.

All of it is synchronous and may query, so it must not run on a thread that a stream would keep.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any, NamedTuple

from django.contrib.auth import get_user
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.asgi import ASGIRequest
from django.db import close_old_connections, connection
from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware

from agents.models import Membership

_executor = ThreadPoolExecutor(max_workers=4, thread_name_prefix="sessions")


class Member(NamedTuple):
    """A signed-in user and their role in the workspace asked for, or None where they have none."""

    user_id: str
    role: str | None


def _unused(request: Any) -> HttpResponse:
    raise AssertionError("the middleware is only asked, never run")


_sessions = SessionMiddleware(_unused)
_csrf = CsrfViewMiddleware(_unused)


def _member(scope: dict[str, Any], workspace_id: str) -> Member | None:
    request = ASGIRequest(scope, BytesIO())
    _sessions.process_request(request)
    user = get_user(request)
    if not user.is_authenticated or not user.is_active:
        return None
    _csrf.process_request(request)
    if _csrf.process_view(request, _unused, (), {}) is not None:
        return None
    role = Membership.objects.filter(workspace_id=workspace_id, user=user, workspace__deleted_at=None)
    return Member(user.pk, role.values_list("role", flat=True).first())


def _closing(work: Callable[[], Member | None]) -> Member | None:
    close_old_connections()
    try:
        return work()
    finally:
        connection.close()


async def member(scope: dict[str, Any], workspace_id: str) -> Member | None:
    """The member that the request's session cookie and CSRF token prove, or None where they prove nobody."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_executor, _closing, lambda: _member(scope, workspace_id))
