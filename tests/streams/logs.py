"""Logs to encode: a table of named ones, and a Hypothesis strategy for every log that the grammar accepts."""

from itertools import pairwise

from hypothesis import strategies as st

from streams.events import (
    Aborted,
    Entry,
    Event,
    Failed,
    Finished,
    Notice,
    ReasoningDelta,
    Started,
    StepFinished,
    StepStarted,
    TextDelta,
    Usage,
)

STARTED = Started(
    conversation_id="conv_01k9v3x2q4e8ta5w6r7y9m0n1p",
    turn_id="turn_01k9v3x2q4e8ta5w6r7y9m0n1q",
    message_id="msg_01k9v3x2q4e8ta5w6r7y9m0n1r",
    model="simulated/words",
)
REQUEST_ID = "req_01k9v3x2q4e8ta5w6r7y9m0n1s"
USAGE = Usage(input_tokens=12, output_tokens=5, reasoning_tokens=2, cached_input_tokens=8)
STOP = Finished("stop", USAGE, 12_345)


def _failed(code: str, message: str, **details: object) -> Failed:
    return Failed(code, message, REQUEST_ID, details)


LOGS: dict[str, list[Event]] = {
    "answer": [
        STARTED,
        StepStarted(),
        TextDelta("Hel"),
        TextDelta("lo"),
        TextDelta(", Zoë! 👋\n"),
        StepFinished(),
        STOP,
    ],
    "silence": [STARTED, StepStarted(), StepFinished(), Finished("stop", Usage(input_tokens=3), 0)],
    "no_step": [STARTED, Finished("other", Usage(), 0)],
    "reasoning_then_text": [
        STARTED,
        StepStarted(),
        ReasoningDelta("The user "),
        ReasoningDelta("greets."),
        TextDelta("Hello."),
        StepFinished(),
        STOP,
    ],
    "notice_inside_a_block": [
        STARTED,
        Notice("simulated", "This is a simulated answer."),
        StepStarted(),
        TextDelta("One, "),
        Notice("credits_low", "Few credits are left."),
        TextDelta("two."),
        Notice("degraded", "Answers are slower now."),
        StepFinished(),
        STOP,
    ],
    "two_steps": [
        STARTED,
        StepStarted(),
        TextDelta("Let me see. "),
        StepFinished(),
        StepStarted(),
        TextDelta("Here it is."),
        StepFinished(),
        Finished("length", USAGE, 1_000_000_000),
    ],
    "json_in_text": [STARTED, StepStarted(), TextDelta('{"a": "\\"\u2028\r\n\n data: x'), StepFinished(), STOP],
    "refused_for_money": [
        _failed(
            "insufficient_credits",
            "There are not enough credits for this answer.",
            workspaceId="ws_01k9v3x2q4e8ta5w6r7y9m0n1t",
            required="0.0023",
            available="0.0001",
            currency="USD",
        ),
        Finished("error", Usage(), 0),
    ],
    "failed_before_text": [
        STARTED,
        StepStarted(),
        _failed("provider_error", "The model could not be reached."),
        Finished("error", Usage(), 0),
    ],
    "failed_mid_text": [
        STARTED,
        StepStarted(),
        TextDelta("Half an ans"),
        _failed("provider_timeout", "The model stopped answering."),
        Finished("error", Usage(12, 3, estimated=True), 777),
    ],
    "stopped": [
        STARTED,
        StepStarted(),
        TextDelta("I was say"),
        Aborted("stopped"),
        Finished("aborted", Usage(12, 3, estimated=True), 5_000),
    ],
    "superseded_before_text": [STARTED, Aborted("superseded"), Finished("aborted", Usage(), 0)],
    "filtered": [STARTED, StepStarted(), StepFinished(), Finished("content-filter", USAGE, 90)],
}


def numbered(log: list[Event]) -> list[Entry]:
    """The log's entries, counted from 1."""
    return list(enumerate(log, start=1))


def text_of(log: list[Event], *, per: str = "block") -> str:
    """What the log says, as UTF-8 can carry it. Halves of a surrogate pair become one character where they meet in one
    `delta` or, if text is sent whole, in one `block`."""
    pieces = [""]
    for event in log:
        if isinstance(event, TextDelta):
            pieces[-1] += event.text
        if per == "delta" or not isinstance(event, TextDelta | Notice):
            pieces.append("")
    return "".join(_printable(piece) for piece in pieces)


def _printable(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


_words = st.text(st.characters(codec=None), min_size=1, max_size=8)
_details = st.dictionaries(
    st.sampled_from(["workspaceId", "required", "code", "type", "failedLimits"]),
    st.none() | st.text(max_size=5) | st.lists(st.integers(0, 9), max_size=2),
    max_size=3,
)
_notices = st.builds(Notice, st.sampled_from(["degraded", "provider_retry", "credits_low"]), _words)
_pieces = st.lists(st.builds(TextDelta, _words) | st.builds(ReasoningDelta, _words) | _notices, max_size=7)
_steps = st.builds(lambda pieces: [StepStarted(), *pieces, StepFinished()], _pieces)
_finished = st.builds(
    Finished,
    st.sampled_from(["stop", "length", "tool-calls", "approval", "content-filter", "error", "aborted", "other"]),
    st.builds(Usage, *[st.integers(0, 10**6)] * 4, estimated=st.booleans()),
    st.integers(0, 10**12),
)
_endings = st.builds(Failed, st.just("provider_error"), _words, st.just(REQUEST_ID), _details) | st.builds(
    Aborted, st.sampled_from(["stopped", "superseded"])
)


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """Any whole log that the grammar accepts, lone surrogates in its texts included."""
    if draw(st.integers(0, 9)) == 0:
        return [draw(_endings), draw(_finished)]
    log: list[Event] = [STARTED]
    for group in draw(st.lists(_steps | _notices.map(lambda notice: [notice]), max_size=4)):
        log += group
    if draw(st.booleans()):
        if draw(st.booleans()):
            log += [StepStarted(), *draw(_pieces)]
        log.append(draw(_endings))
    return [*log, draw(_finished)]


@st.composite
def batches(draw: st.DrawFn, entries: list[Entry]) -> list[list[Entry]]:
    """The entries cut into batches of any size, empty ones too."""
    cuts = sorted(draw(st.lists(st.integers(0, len(entries)), max_size=6)))
    bounds = [0, *cuts, len(entries)]
    return [entries[start:end] for start, end in pairwise(bounds)]
