"""Serializer fields and bases that take JSON as it is written: no number for a text, no unknown field."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from billing import money

_OFFSET = re.compile(r".*(?:[Zz]|[+-]\d\d:\d\d)", re.DOTALL)


class Text(serializers.CharField):
    """A JSON string; NUL and lone surrogates are refused."""

    def __init__(self, **kwargs: Any) -> None:
        if not kwargs.get("allow_blank"):
            kwargs.setdefault("min_length", 1)  # `blank` says so first; this is for the schema
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Whole(serializers.IntegerField):
    """A JSON number without a fraction."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int | float) or data != data // 1:
            self.fail("invalid")
        return int(data)


class Number(serializers.FloatField):
    """A JSON number."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        try:
            return float(data)
        except OverflowError:  # an integer of hundreds of digits
            raise ValidationError("A number of this size is not possible.", code="invalid") from None


class Flag(serializers.BooleanField):
    """`true` or `false`."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Instant(serializers.DateTimeField):
    """RFC 3339 with an offset; answered in UTC as `…Z`."""

    def to_internal_value(self, data: Any) -> datetime:
        if not isinstance(data, str) or _OFFSET.fullmatch(data) is None:
            self.fail("invalid", format="YYYY-MM-DDThh:mm:ss[.uuuuuu](+HH:MM|-HH:MM|Z)")
        return super().to_internal_value(data)


@extend_schema_field({"type": "string", "pattern": r"^-?\d+(\.\d{1,9})?$", "example": "9.998765432"})
class Usd(serializers.Field):
    """Nano-dollars, answered as a decimal string of US dollars. Read-only."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(read_only=True, **kwargs)

    def to_representation(self, value: int) -> str:
        return money.usd(value)


@extend_schema_field({"type": "string", "enum": ["USD"]})
class Currency(serializers.Field):
    """What amounts beside it are in. Read-only."""

    def __init__(self) -> None:
        super().__init__(read_only=True, source="*")

    def to_representation(self, value: object) -> str:
        return "USD"


class Input(serializers.Serializer):
    """A request body: every field it may have is declared, any other is refused by name."""

    def to_internal_value(self, data: Any) -> dict[str, object]:
        errors: dict[str, object] = {}
        if isinstance(data, Mapping):
            unknown = [ErrorDetail("There is no such field.", code="unknown_field")]
            errors = {str(name): unknown for name in data if name not in self.fields}
        try:
            value = super().to_internal_value(data)
        except ValidationError as problem:
            raise ValidationError({**problem.detail, **errors}) from None
        if errors:
            raise ValidationError(errors)
        return value


def validated(serializer: type[Input], data: object, *, partial: bool = False) -> dict[str, Any]:
    """The body's values. Raises ValidationError, which names each bad field."""
    checked = serializer(data=data, partial=partial)
    checked.is_valid(raise_exception=True)
    return checked.validated_data
