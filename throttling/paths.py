"""The grammar of stream paths. Pure.

    /api/streams/{workspace}/{agent}/{secret}[/{chat}/{verb}]     secret in the path
    /api/streams/{workspace}/{agent}[/{chat}/{verb}]              secret in the Authorization header
    /api/streams/{workspace}/{agent}/test[/{chat}/{verb}]         members and API keys

where a verb is `stream` or `stop`. A trailing slash makes no difference.
"""

from typing import Literal, NamedTuple
from urllib.parse import quote, unquote

from billing import ids

PREFIX = "/api/streams/"
VERBS = ("stream", "stop")


class StreamPath(NamedTuple):
    """A parsed path. `secret` is what stood in the path where `by` is `path`."""

    workspace_id: str
    agent_id: str
    by: Literal["path", "header", "member"]
    secret: str | None
    chat: str | None
    verb: Literal["stream", "stop"] | None

    @property
    def without_secret(self) -> str:
        """The same path as it may be logged and routed, decoded."""
        middle = "/test" if self.by == "member" else ""
        tail = f"/{self.chat}/{self.verb}" if self.chat is not None else ""
        return f"{PREFIX}{self.workspace_id}/{self.agent_id}{middle}{tail}"

    @property
    def raw_without_secret(self) -> bytes:
        """As `without_secret`, percent-encoded."""
        return quote(self.without_secret).encode()


def parse(raw_path: str) -> StreamPath | None:
    """A percent-encoded path as its parts, or None where it follows no form above."""
    if not raw_path.startswith(PREFIX):
        return None
    segments = [unquote(segment) for segment in raw_path.removeprefix(PREFIX).removesuffix("/").split("/")]
    if len(segments) < 2 or any(not segment or "/" in segment or "\0" in segment for segment in segments):
        return None
    workspace_id, agent_id, *rest = segments
    if not (ids.has_prefix(workspace_id, "ws") and ids.has_prefix(agent_id, "ag")):
        return None
    chat, verb = None, None
    if len(rest) >= 2:
        *rest, chat, verb = rest
        if verb not in VERBS or len(chat) > 128:
            return None
    match rest:
        case []:
            return StreamPath(workspace_id, agent_id, "header", None, chat, verb)  # type: ignore[arg-type]
        case ["test"]:
            return StreamPath(workspace_id, agent_id, "member", None, chat, verb)  # type: ignore[arg-type]
        case [secret] if secret != "config":
            return StreamPath(workspace_id, agent_id, "path", secret, chat, verb)  # type: ignore[arg-type]
    return None
