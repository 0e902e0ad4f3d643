"""Messages of a conversation as the product holds them, whichever shape a client or a provider gives them. Pure data.

`streams.bodies` makes them from a request body, `streams.providers` turns them into what a provider wants.
"""

from typing import Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    text: str


class FilePart(msgspec.Struct, frozen=True, tag="file", omit_defaults=True):
    """A file by its URL (`https:` or `data:`); it is never fetched here."""

    url: str
    media_type: str | None = None
    filename: str | None = None

    @property
    def is_image(self) -> bool:
        """What says nothing of its kind is taken for an image, which is what chats send."""
        return self.media_type is None or self.media_type.startswith("image/")


class ToolCallPart(msgspec.Struct, frozen=True, tag="tool-call"):
    tool_call_id: str
    tool_name: str
    args: object


class ToolResultPart(msgspec.Struct, frozen=True, tag="tool-result"):
    tool_call_id: str
    tool_name: str
    result: object


Part = TextPart | FilePart | ToolCallPart | ToolResultPart


class ChatMessage(msgspec.Struct, frozen=True):
    """One message. `client_id` is the id the client gave it, if any."""

    role: Role
    parts: tuple[Part, ...]
    client_id: str | None = None

    @property
    def text(self) -> str:
        """The text parts, joined by newlines."""
        return "\n".join(part.text for part in self.parts if isinstance(part, TextPart))


class Incoming(msgspec.Struct, frozen=True):
    """What a request body asks for.

    `complete` says that `messages` is the whole conversation as the client holds it; otherwise they continue what is
    stored. `approvals` and `tool_results` answer an agent that waits.
    """

    messages: tuple[ChatMessage, ...]
    complete: bool
    chat_id: str | None = None
    trigger: Literal["submit-message", "regenerate-message"] | None = None
    message_id: str | None = None
    approvals: tuple["ApprovalAnswer", ...] = ()
    tool_results: tuple["ClientToolResult", ...] = ()
    auto_dialect: Literal["ui", "v4", "plain"] = "plain"


class ApprovalAnswer(msgspec.Struct, frozen=True):
    approval_id: str
    approved: bool
    reason: str | None = None


class ClientToolResult(msgspec.Struct, frozen=True):
    tool_call_id: str
    result: object
