"""Lists as `{data, has_more, next_cursor}`: pages by key, so that what is added meanwhile moves nothing.

A cursor is the key of the page's last row, opaque to callers. It gives no access: the query is scoped before it.
"""

import base64
import binascii
from collections.abc import Callable
from typing import NamedTuple

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.serializers import Serializer

from agents.problems import FieldError, Problem

DEFAULT_LIMIT = 25
MAX_LIMIT = 100
_MAX_KEY = 2**63 - 1


class Order(NamedTuple):
    """What a list is sorted by: a unique column, and how its cursor reads (raising ValueError on nonsense)."""

    column: str
    parse: Callable[[str], object]
    newest_first: bool = True


def _text(key: str) -> str:
    if "\x00" in key or len(key) > 200:
        raise ValueError("no key of a row")
    return key


def _number(key: str) -> int:
    number = int(key)
    if not 0 <= number <= _MAX_KEY:
        raise ValueError("no key of a row")
    return number


BY_ID = Order("id", _text)
BY_NUMBER = Order("number", _number)
BY_MEMBERSHIP = Order("pk", _number, newest_first=False)
BY_MODEL = Order("model", _text, newest_first=False)


def page(request: Request, rows: QuerySet, order: Order, serializer: type[Serializer]) -> dict[str, object]:
    """The page of `rows` that the request's `limit` and `cursor` ask for. Raises Problem `invalid`."""
    limit = _limit(request)
    cursor = request.query_params.get("cursor")
    if cursor is not None:
        rows = rows.filter(**{f"{order.column}__{'lt' if order.newest_first else 'gt'}": _key(cursor, order)})
    found = list(rows.order_by(f"{'-' if order.newest_first else ''}{order.column}")[: limit + 1])
    shown, has_more = found[:limit], len(found) > limit
    return {
        "data": serializer(shown, many=True).data,
        "has_more": has_more,
        "next_cursor": _cursor(getattr(shown[-1], order.column)) if has_more else None,
    }


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_LIMIT):
        raise _invalid("limit", f"must be a whole number from 1 to {MAX_LIMIT}")
    return int(text)


def _cursor(key: object) -> str:
    return base64.urlsafe_b64encode(str(key).encode()).decode().rstrip("=")


def _key(cursor: str, order: Order) -> object:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return order.parse(base64.b64decode(padded, altchars=b"-_", validate=True).decode())
    except (ValueError, binascii.Error):
        raise _invalid("cursor", "is not one that a list gave") from None


def _invalid(parameter: str, what: str) -> Problem:
    error = FieldError(f"/{parameter}", "invalid", f"The query parameter `{parameter}` {what}.")
    return Problem("invalid", "The query is not valid.", errors=[error])
