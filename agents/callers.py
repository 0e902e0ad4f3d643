"""Who calls: what the edge found out about a credential, for everything behind it."""

from typing import Literal

import msgspec


class Caller(msgspec.Struct, frozen=True):
    """An admitted credential.

    `scope` is whose chats these are (the lineage of a stream secret, an API key, a user); `shared` says that many
    people may hold the credential, so that only long chat ids name anything. `agent_id` is None where the credential
    opens every agent of the workspace. `public` callers may not send system messages.
    """

    kind: Literal["secret", "key", "user"]
    scope: str
    shared: bool
    workspace_id: str
    credential_id: str
    agent_id: str | None = None
    allowed_origins: tuple[str, ...] = ()

    @property
    def public(self) -> bool:
        return self.kind == "secret"
