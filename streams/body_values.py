"""Reading JSON that a stranger sent: each step says what it wants, and names by pointer what it did not get. Pure."""

from typing import NamedTuple, Self, TypeVar

import msgspec

Word = TypeVar("Word", bound=str)
MAX_DEPTH = 64
MAX_INTEGER = 2**64
MAX_VALUES = 30_000  # each is looked at, while everybody else waits
_decode = msgspec.json.Decoder().decode


# A value, its name or index, and the place of the list or object that holds it; of those, the outermost has none.
_Place = tuple[object, str | int | None, "_Place | None"]


class FieldError(NamedTuple):
    """One thing that is wrong: where (RFC 6901, "" is the whole body), a machine code, and a sentence."""

    pointer: str
    code: str
    detail: str


class InvalidBody(Exception):
    """The body cannot be taken as it is; `errors` has at least one."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__(errors[0].detail)
        self.errors = errors


def invalid(pointer: str, code: str, detail: str) -> InvalidBody:
    """An InvalidBody with one error, to raise."""
    return InvalidBody([FieldError(pointer, code, detail)])


def decode_json(source: str, pointer: str) -> object:
    """The JSON value in `source`, which stands at `pointer`. Raises InvalidBody."""
    try:
        return _decode(source)
    except msgspec.ValidationError:
        raise invalid(pointer, "out_of_range", "A number is too large.") from None
    except RecursionError:
        raise invalid(pointer, "too_deep", "The JSON is nested too deeply.") from None
    except ValueError:
        raise invalid(pointer, "invalid_json", "This is not valid JSON.") from None


class Value:
    """A decoded JSON value and the place it came from. Every method raises InvalidBody for a value of another kind."""

    __slots__ = ("budget", "pointer", "raw")

    def __init__(self, raw: object, pointer: str, budget: list[int] | None = None) -> None:
        self.raw = raw
        self.pointer = pointer
        self.budget = [MAX_VALUES] if budget is None else budget
        """How many more values may be looked at below, shared by all that came from one body."""

    def has(self, name: str) -> bool:
        return name in self._object()

    def get(self, name: str) -> Self | None:
        """The field, or None where it is absent or null."""
        raw = self._object().get(name)
        return None if raw is None else self._child(raw, name)

    def key(self, name: str) -> Self:
        """The field, which must be there, though it may be null."""
        fields = self._object()
        if name not in fields:
            raise invalid(f"{self.pointer}/{name}", "missing", f"The field {name} is missing.")
        return self._child(fields[name], name)

    def items(self) -> list[Self]:
        if not isinstance(self.raw, list):
            raise self._wrong_type("a list")
        return [self._child(item, str(index)) for index, item in enumerate(self.raw)]

    def text(self) -> str:
        """A string that the database can hold, so without U+0000."""
        if not isinstance(self.raw, str):
            raise self._wrong_type("a string")
        if "\0" in self.raw:
            raise invalid(self.pointer, "null_character", "The character U+0000 is not allowed.")
        return self.raw

    def filled_text(self, max_length: int | None = None) -> str:
        """A string with more in it than white space, of at most `max_length` characters."""
        text = self.text()
        if not text.strip():
            raise invalid(self.pointer, "blank", "This must not be blank.")
        if max_length is not None and len(text) > max_length:
            raise invalid(self.pointer, "too_long", f"At most {max_length} characters are accepted.")
        return text

    def flag(self) -> bool:
        if not isinstance(self.raw, bool):
            raise self._wrong_type("true or false")
        return self.raw

    def one_of(self, *allowed: Word) -> Word:
        for word in allowed:
            if self.raw == word:
                return word
        if not isinstance(self.raw, str):
            raise self._wrong_type("a string")
        raise invalid(self.pointer, "unknown", f"This must be one of: {', '.join(allowed)}.")

    def json(self) -> object:
        """Any JSON that can be stored and written again: at most 64 levels deep, no U+0000, integers up to 64 bits."""
        waiting: list[_Place] = [(self.raw, None, None)]
        depth = 0
        while waiting:
            if depth == MAX_DEPTH:
                raise invalid(self.pointer, "too_deep", f"The JSON is nested deeper than {MAX_DEPTH} levels.")
            waiting = self._inside(waiting)
            depth += 1
        return self.raw

    def _inside(self, places: list["_Place"]) -> list["_Place"]:
        """What the lists and objects at these places hold, one level down; every place is checked by itself."""
        inside: list[_Place] = []
        for place in places:
            raw = place[0]
            if isinstance(raw, list | dict):
                self._spend(len(raw))
            if isinstance(raw, list):
                inside += [(item, index, place) for index, item in enumerate(raw)]
            elif isinstance(raw, dict):
                if any("\0" in name for name in raw):
                    raise invalid(self._pointer_to(place), "null_character", "U+0000 is not allowed in a name.")
                inside += [(item, name, place) for name, item in raw.items()]
            elif isinstance(raw, str):
                if "\0" in raw:
                    raise invalid(self._pointer_to(place), "null_character", "The character U+0000 is not allowed.")
            elif isinstance(raw, int) and abs(raw) >= MAX_INTEGER:
                raise invalid(self._pointer_to(place), "out_of_range", "The number is too large.")
        return inside

    def _spend(self, values: int) -> None:
        self.budget[0] -= values
        if self.budget[0] < 0:
            raise invalid(self.pointer, "too_many", f"The JSON of all tools holds more than {MAX_VALUES} values.")

    def _pointer_to(self, place: "_Place") -> str:
        """Made only when needed: a pointer for each of a large body's values would take most of the time."""
        _, name, parent = place
        return self.pointer if parent is None else f"{self._pointer_to(parent)}/{_escaped(str(name))}"

    def _object(self) -> dict[str, object]:
        if not isinstance(self.raw, dict):
            raise self._wrong_type("an object")
        return self.raw

    def _child(self, raw: object, name: str) -> Self:
        return type(self)(raw, f"{self.pointer}/{name}", self.budget)

    def _wrong_type(self, wanted: str) -> InvalidBody:
        return invalid(self.pointer, "invalid_type", f"This must be {wanted}, not {_kind(self.raw)}.")


def _escaped(name: str) -> str:
    """One reference token of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def _kind(raw: object) -> str:
    match raw:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
    return "an object"
