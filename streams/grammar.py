"""Which event may follow which in a turn's log: one literal table. Pure.

    Started (StepStarted (TextDelta | ReasoningDelta)* StepFinished)* [Failed | Aborted] Finished

`Notice` may come wherever the turn runs. `Failed` and `Aborted` may also cut an open step, or come first of all: a
refused turn is `Failed, Finished`. After `Finished` nothing comes.
"""

from enum import Enum

from streams.events import (
    Aborted,
    Event,
    Failed,
    Finished,
    Notice,
    ReasoningDelta,
    Started,
    StepFinished,
    StepStarted,
    TextDelta,
)


class OutOfOrder(Exception):
    """An event came where the table has no place for it. The log is unchanged; the message is one sentence."""


class State(Enum):
    """Where a log stands; each value completes the sentence "the turn …"."""

    NEW = "has not started"
    BETWEEN_STEPS = "is between two steps"
    IN_STEP = "is in a step"
    ENDING = "has failed or was aborted"
    CLOSED = "has finished"


TABLE: dict[State, dict[type[Event], State]] = {
    State.NEW: {
        Started: State.BETWEEN_STEPS,
        Failed: State.ENDING,
        Aborted: State.ENDING,
    },
    State.BETWEEN_STEPS: {
        StepStarted: State.IN_STEP,
        Notice: State.BETWEEN_STEPS,
        Failed: State.ENDING,
        Aborted: State.ENDING,
        Finished: State.CLOSED,
    },
    State.IN_STEP: {
        TextDelta: State.IN_STEP,
        ReasoningDelta: State.IN_STEP,
        Notice: State.IN_STEP,
        StepFinished: State.BETWEEN_STEPS,
        Failed: State.ENDING,
        Aborted: State.ENDING,
    },
    State.ENDING: {
        Finished: State.CLOSED,
    },
    State.CLOSED: {},
}


class Grammar:
    """Follows one log from its first event on; `state` says where it stands."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = State.NEW

    def check(self, event: Event) -> None:
        """Takes the next event of the log. Raises OutOfOrder, and stays where it was, if the event may not come now."""
        following = TABLE[self.state].get(type(event))
        if following is None:
            raise OutOfOrder(f"{type(event).__name__} may not come when the turn {self.state.value}.")
        self.state = following
