"""What can happen in a turn: the vocabulary that the log stores, the grammar checks and the protocols encode.

Plain frozen records without behaviour. A log reads `Started`, then steps, then at most one of `Failed` or `Aborted`,
then exactly one `Finished`, which is always last. A turn refused for want of money has no `Started`: its log is
`Failed, Finished`. Money is in nano-dollars, tokens are counts.
"""

from typing import Literal

import msgspec

FinishReason = Literal["stop", "length", "tool-calls", "approval", "content-filter", "error", "aborted", "other"]


class Event(msgspec.Struct, frozen=True, gc=False):
    """The base of everything a log may hold."""


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one turn. `estimated` marks our own count, used when the provider reported none."""

    input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cached_input_tokens: int = 0
    estimated: bool = False


class Started(Event, frozen=True, gc=False):
    """The turn is admitted and its credits are held."""

    conversation_id: str
    turn_id: str
    message_id: str
    model: str


class StepStarted(Event, frozen=True, gc=False):
    """A call to the model begins."""


class TextDelta(Event, frozen=True, gc=False):
    """A piece of the answer, in the provider's own cut; never empty. Neighbouring deltas form one
    block; a `Notice` between them does not end it."""

    text: str


class ReasoningDelta(Event, frozen=True, gc=False):
    """A piece of the model's reasoning; in the log only where the agent shows reasoning."""

    text: str


class Notice(Event, frozen=True, gc=False):
    """Something the client may show; never an end. `code` is one of `degraded provider_retry credits_low simulated`."""

    code: str
    message: str


class StepFinished(Event, frozen=True, gc=False):
    """The call to the model is over; every block it opened is complete."""


class Failed(Event, frozen=True, gc=False):
    """The turn ended by an error. `message` is a sentence for an end user; `details` are the dialect's extra fields
    (camelCase, JSON values), such as `workspaceId, required, available, currency` for money."""

    code: str
    message: str
    request_id: str
    details: dict[str, object] = {}


class Aborted(Event, frozen=True, gc=False):
    """Somebody ended the turn on purpose: `stopped` or `superseded`."""

    code: Literal["stopped", "superseded"]


class Finished(Event, frozen=True, gc=False):
    """The last event of every log: how it ended, what it used and what it cost after settlement."""

    finish_reason: FinishReason
    usage: Usage
    cost_nano: int


Entry = tuple[int, Event]
"""A sequence number, counted from 1 within a turn, and its event."""
