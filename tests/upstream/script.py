"""What the scripted server does with a request: read from the model's name or the last user message. Pure.

A directive is `scripted/NAME?option=value&…`. One in the last user message beats one in the model's name; without any,
the server echoes. Names:

| name | the server |
|---|---|
| `echo` | says the last user message (less the directive) again, word by word |
| `slow?n=&rate=` | says n numbered words, rate words a second (default 100 at 20) |
| `flood?n=` | says n words as fast as the socket takes them (default 100,000) |
| `error-before?status=` | answers with that status before any stream; 0 hangs up without a word |
| `error-mid?after=` | sends an error object in the stream after so many words |
| `cut?after=` | resets the connection after so many words |
| `end?after=` | ends the body cleanly after so many words, with neither a finish reason nor `[DONE]` |
| `silent?after=` | says so many words and then nothing, the connection open |
| `silent-before` | takes the request and never answers |
| `no-usage` | leaves the usage chunk out |
| `wrong-usage?input=&output=` | reports these counts whatever it said |
| `reasoning` | thinks n words (default 5) before it echoes; `field=` names the delta's field |
| `ignore-max-tokens` | says n words (default 200) whatever the request allows |
| `max-tokens-renamed` | refuses `max_tokens` as OpenAI's reasoning models do, and echoes for the new name |
| `raw?body=&split=&abort=` | sends these base64url bytes as the body, split bytes a write, then ends (or resets) |

Options of all: `n` words, `rate` words a second (0: at once), `delay` seconds before the status line, `stamp=1` makes
each word its send time in nanoseconds of the monotonic clock, `times=k` misbehaves only for the first k requests with
this very directive and echoes afterwards, `tail` seconds between `[DONE]` and the end of the body. `error-before` also
takes `retry-after`, `retry-after-ms`, `location`, `content-type`, `code`, and `leak=1`, which puts the caller's key
into the error's text as careless servers do.
"""

import re
from collections.abc import Sequence
from typing import overload
from urllib.parse import parse_qsl

import msgspec

DIRECTIVE = re.compile(r"scripted/([a-z][a-z-]*)(?:\?(\S*))?")
WORD = re.compile(r"\s*\S+\s*")

KNOWN = frozenset(
    {
        "echo",
        "slow",
        "flood",
        "error-before",
        "error-mid",
        "cut",
        "end",
        "silent",
        "silent-before",
        "no-usage",
        "wrong-usage",
        "reasoning",
        "ignore-max-tokens",
        "max-tokens-renamed",
        "raw",
    }
)


class Script(msgspec.Struct, frozen=True):
    """A behaviour, its options, and the text that an echo says."""

    name: str
    options: dict[str, str]
    text: str
    directive: str = ""

    def number(self, option: str, default: float) -> float:
        return float(self.options.get(option, default))

    def count(self, option: str, default: int) -> int:
        return int(self.options.get(option, default))

    def flag(self, option: str) -> bool:
        return self.options.get(option, "0") not in ("", "0")


class Numbered(Sequence[str]):
    """`tok0 `, `tok1 ` and so on, made when they are asked for: a flood may be millions of words."""

    def __init__(self, name: str, numbers: range) -> None:
        self.name = name
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Numbered": ...
    def __getitem__(self, index: int | slice) -> "str | Numbered":
        if isinstance(index, slice):
            return Numbered(self.name, self.numbers[index])
        return f"{self.name}{self.numbers[index]} "


class Answer(msgspec.Struct, frozen=True):
    """The words a script says within the request's bound, and the usage it reports (None: none)."""

    words: Sequence[str]
    thoughts: Sequence[str]
    finish_reason: str
    usage: dict[str, object] | None


def choose(model: str, last_user_text: str) -> Script:
    """The script of a request. Raises ValueError for a directive that names none of `KNOWN`."""
    for source in (last_user_text, model):
        if found := DIRECTIVE.search(source):
            name, query = found.groups()
            if name not in KNOWN:
                raise ValueError(f"no such script: {name}")
            text = last_user_text.replace(found.group(), "").strip() or "Nothing to echo."
            return Script(name, dict(parse_qsl(query or "", keep_blank_values=True)), text, found.group())
    return Script("echo", {}, last_user_text or "Nothing to echo.")


def answer(script: Script, prompt: str, bound: int | None) -> Answer:
    """What `script` says to `prompt` when at most `bound` words are allowed. One word counts as one token; the prompt
    counts a token for every four bytes, rounded up."""
    words = _words(script)
    thoughts = Numbered("thought", range(script.count("n", 5) if script.name == "reasoning" else 0))
    finish_reason = script.options.get("finish", "stop")
    if bound is not None and script.name != "ignore-max-tokens" and len(thoughts) + len(words) > bound:
        thoughts = thoughts[:bound]
        words = words[: bound - len(thoughts)]
        finish_reason = "length"
    counted_input = (len(prompt.encode()) + 3) // 4
    usage: dict[str, object] | None = None
    if script.name != "no-usage":
        wrong = script.name == "wrong-usage"
        given = script.count("input", counted_input) if wrong else counted_input
        said = script.count("output", len(words)) if wrong else len(words) + len(thoughts)
        usage = {
            "prompt_tokens": given,
            "completion_tokens": said,
            "total_tokens": given + said,
            "prompt_tokens_details": {"cached_tokens": script.count("cached", 0)},
            "completion_tokens_details": {"reasoning_tokens": len(thoughts)},
        }
    return Answer(words, thoughts, finish_reason, usage)


def _words(script: Script) -> Sequence[str]:
    numbered = {"slow": 100, "flood": 100_000, "ignore-max-tokens": 200}.get(script.name)
    if numbered is None and ("n" not in script.options or script.name == "reasoning"):
        return tuple(WORD.findall(script.text))
    return Numbered("tok", range(script.count("n", numbered or 0)))
