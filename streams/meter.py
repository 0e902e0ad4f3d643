"""What a turn has used so far, in tokens and money, and how much it may still use. Pure.

The provider's own usage wins once it is there. Until then, and for answers cut off without it, our count stands: the
prompt at a token for every four bytes, the answer likewise but never more than the hold pays for. Before anything was
delivered nothing is charged.
"""

from typing import Literal

from billing import pricing
from billing.pricing import Price
from streams.events import Usage

RUNAWAY_BYTES = 16
"""More bytes a token than any language has; an answer beyond that ignored its bound."""


class Meter:
    """Counts one turn against its hold.

    `cap_tokens` is the longest answer the agent allows, `prompt_bytes` the size of what is asked, `prompt_tokens` what
    it was reserved as.
    """

    __slots__ = (
        "_held_tokens",
        "_limit_bytes",
        "_prompt_bytes",
        "answer_bytes",
        "limited_by",
        "max_tokens",
        "price",
        "usage",
    )

    def __init__(self, price: Price, *, held_nano: int, prompt_bytes: int, prompt_tokens: int, cap_tokens: int) -> None:
        affordable = pricing.affordable_output(price, held_nano=held_nano, prompt_tokens=prompt_tokens)
        with_slack = cap_tokens + (cap_tokens + 2) // 3
        limit = with_slack if affordable is None else min(affordable, with_slack)
        short = limit < cap_tokens
        self.price = price
        self.max_tokens = max(1, min(cap_tokens, limit))
        self.limited_by: Literal["output_limit", "insufficient_credits"] = (
            "insufficient_credits" if short else "output_limit"
        )
        self.usage: Usage | None = None
        self.answer_bytes = 0
        self._prompt_bytes = prompt_bytes
        # A hold that is short is kept to by our own count. One that pays for the whole answer is kept to by the
        # provider, which was asked for no more: then the bound only stops one that runs away.
        self._held_tokens = limit
        self._limit_bytes = limit * 4 if short else cap_tokens * RUNAWAY_BYTES

    def take(self, text: str) -> str:
        """Count a delta; returns what of it is paid for, which is less than all of it where the hold is used up."""
        size = len(text) if text.isascii() else len(text.encode())
        room = self._limit_bytes - self.answer_bytes
        if size <= room:
            self.answer_bytes += size
            return text
        paid = text.encode()[: max(0, room)].decode(errors="ignore")
        self.answer_bytes += len(paid.encode())
        return paid

    def report(self, usage: Usage) -> None:
        """Note the provider's usage. One that denies an answer we have seen is no report."""
        if usage.output_tokens > 0 or self.answer_bytes == 0:
            cached = min(usage.cached_input_tokens, usage.input_tokens)
            self.usage = Usage(usage.input_tokens, usage.output_tokens, usage.reasoning_tokens, cached)

    @property
    def total(self) -> Usage:
        """The usage as it stands: the provider's, or ours, marked as estimated."""
        if self.usage is not None:
            return self.usage
        if self.answer_bytes == 0:
            return Usage(estimated=True)
        return Usage(
            input_tokens=pricing.count_tokens(self._prompt_bytes),
            output_tokens=min(pricing.count_tokens(self.answer_bytes), self._held_tokens),
            estimated=True,
        )

    @property
    def used_nano(self) -> int:
        """What the usage costs, in nano-dollars."""
        usage = self.total
        return pricing.cost(
            self.price,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_input_tokens=usage.cached_input_tokens,
        )
