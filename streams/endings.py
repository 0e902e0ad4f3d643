"""Every way a turn may end, what an end user reads of it, and what the log ends with. Pure."""

from typing import NamedTuple

from streams.events import FinishReason

SENTENCES = {
    "insufficient_credits": "There is not enough credit left for this answer.",
    "output_limit": "The answer was longer than this agent allows, so it ends here.",
    "duration_limit": "The answer took longer than this plan allows, so it ends here.",
    "provider_error": "The model could not answer. Please try again.",
    "provider_timeout": "The model did not answer in time. Please try again.",
    "server_restarting": "The service is being restarted. Please try again in a moment.",
    "unavailable": "The service is not available at the moment. Please try again.",
    "internal_error": "Something went wrong on our side. Please try again.",
}
ABORTS = {"stopped": "stopped", "superseded": "superseded", "client_left": "stopped"}
"""Endings that somebody wanted, and what a reader is told."""


class Ending(NamedTuple):
    """How a turn ended. `code` is `finished`, one of ABORTS or one of SENTENCES; `finish_reason` is the model's own
    where it finished; `details` are extra fields of the error."""

    code: str
    finish_reason: FinishReason = "error"
    details: dict[str, object] = {}


class Ended(Exception):
    """Raised inside a turn to end it with an error of ours."""

    def __init__(self, code: str, **details: object) -> None:
        super().__init__(code)
        self.ending = Ending(code, "error", details)


def finished(reason: FinishReason) -> Ending:
    """The model came to an end."""
    return Ending("finished", reason)


def aborted(code: str) -> Ending:
    """Somebody ended the turn, or the server had to."""
    return Ending(code, "aborted" if code in ABORTS else "error")
