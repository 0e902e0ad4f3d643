"""What the scripted server saw: one exchange per request. Times are seconds of the machine's monotonic clock, which
all processes share."""

import msgspec


class Exchange(msgspec.Struct):
    """One request and what became of it."""

    number: int
    connection: int
    opened_at: float
    received_at: float
    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, object]
    script: str = ""
    status: int | None = None
    tokens_sent: int = 0
    bytes_sent: int = 0
    first_token_at: float | None = None
    last_token_at: float | None = None
    completed_at: float | None = None
    """When the last byte of a whole answer was handed to the socket."""
    client_closed_at: float | None = None
    """When the client was seen to have left before the answer was whole."""


class Journal(msgspec.Struct):
    """The exchanges in the order of their arrival, and how often each directive has been asked for."""

    exchanges: list[Exchange] = []
    asked: dict[str, int] = {}
    connections: int = 0

    def clear(self) -> None:
        self.exchanges.clear()
        self.asked.clear()

    def count(self, directive: str) -> int:
        """Notes one more request with `directive`; how many there were before."""
        before = self.asked.get(directive, 0)
        self.asked[directive] = before + 1
        return before

    def last(self) -> Exchange:
        """The latest exchange. Raises IndexError when there is none."""
        return self.exchanges[-1]
