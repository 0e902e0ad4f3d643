"""Prefixed, sortable ids (TypeID: UUIDv7 in base32), stored as the very text that users see.

They live in the rightmost app because every app may import from it. A table holds one prefix, by constraint.
"""

import re
from typing import Any

from django.db import models
from typeid import TypeID

LENGTH = 26
_SUFFIX = re.compile(r"[0-7][0-9a-hjkmnp-tv-z]{25}")


def new(prefix: str) -> str:
    """A new id, such as `turn_01k…`. Ids made later by the same process sort later."""
    return str(TypeID(prefix=prefix))


def has_prefix(value: str, prefix: str) -> bool:
    """Whether `value` is a well-formed id of that kind; a lookup of anything else can only fail."""
    head, _, suffix = value.rpartition("_")
    return head == prefix and _SUFFIX.fullmatch(suffix) is not None


class PrefixedIdField(models.CharField):
    """A primary key whose values begin with a fixed prefix. Sorted bytewise, so that order is time."""

    def __init__(self, prefix: str, **kwargs: Any) -> None:
        self.prefix = prefix
        kwargs.update(
            max_length=len(prefix) + 1 + LENGTH, primary_key=True, editable=False, default=self.make, db_collation="C"
        )
        super().__init__(**kwargs)

    def db_type(self, connection: Any) -> str:
        # Spelled out, because Django adds a second index for LIKE to whatever begins with "varchar"; bytewise order
        # makes the first one enough.
        return f"character varying({self.max_length})"

    def rel_db_type(self, connection: Any) -> str:
        return self.db_type(connection)

    def make(self) -> str:
        return new(self.prefix)

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        name, path, args, kwargs = super().deconstruct()
        for fixed in ("max_length", "primary_key", "editable", "default", "db_collation"):
            kwargs.pop(fixed, None)
        return name, path, [self.prefix, *args], kwargs
