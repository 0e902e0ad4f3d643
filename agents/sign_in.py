"""One-time sign-in links: a signed token of a user, good for 24 hours and until that user next signs in.

The token is bound to `last_login`, which signing in changes: whoever comes second, or copies a used link, is refused.
Following a link only shows a page with a button, so that previews of it burn nothing.
"""

from django.contrib.auth import login
from django.core import signing
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse

from agents.models import User

LIFETIME_S = 24 * 3600
_SALT = "agents.sign_in"


class LinkRefused(Exception):
    """The link is forged, used, older than a day, or its user may not sign in any more."""


def link(user: User, *, base_url: str) -> str:
    """A link that signs this user in once, absolute under `base_url`."""
    token = signing.dumps([user.id, _last_login(user)], salt=_SALT)
    return base_url + reverse("sign-in", args=[token])


def whose(token: str) -> User:
    """The user the link is for. Raises LinkRefused."""
    return _user(token, User.objects.all())


@transaction.atomic
def redeem(request: HttpRequest, token: str) -> User:
    """Sign the link's user in on this request's session and use the link up. Raises LinkRefused."""
    user = _user(token, User.objects.select_for_update(no_key=True))  # two clicks at once: the second waits, then fails
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return user


def _user(token: str, users: QuerySet[User]) -> User:
    try:
        user_id, last_login = signing.loads(token, salt=_SALT, max_age=LIFETIME_S)
    except signing.BadSignature:
        raise LinkRefused from None
    user = users.filter(id=user_id, is_active=True).first()
    if user is None or _last_login(user) != last_login:
        raise LinkRefused
    return user


def _last_login(user: User) -> str:
    return user.last_login.isoformat() if user.last_login else ""
