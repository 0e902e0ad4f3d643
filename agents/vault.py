"""Secrets: making them, recognising them, and the only places where their plain text is seen.

A secret reads `hms_` (stream secret) or `hmk_` (API key), 12 characters of public id, 32 of secret, 6 of checksum, all
of 0-9A-Za-z. The checksum is the CRC-32 of what stands before it, so a malformed one is refused without a query. What
is stored is the public id and SHA-256 of the whole: 190 random bits need no slow hash.
"""

import hashlib
import hmac
import json
import re
import secrets
import string
import zlib
from typing import Literal, NamedTuple

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

Kind = Literal["hms", "hmk"]
STREAM_SECRET: Kind = "hms"
API_KEY: Kind = "hmk"

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_FORM = re.compile(r"(hm[sk])_([0-9A-Za-z]{12})[0-9A-Za-z]{32}([0-9A-Za-z]{6})")


class Minted(NamedTuple):
    """A new secret: `plain` is shown once, the rest is stored."""

    plain: str
    public_id: str
    digest: bytes


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits


def mint(kind: Kind) -> Minted:
    """A new secret of that kind."""
    public_id = _random(12)
    body = f"{kind}_{public_id}{_random(32)}"
    plain = body + _checksum(body)
    return Minted(plain, public_id, digest(plain))


def digest(plain: str) -> bytes:
    """What is stored of a secret: 32 bytes."""
    return hashlib.sha256(plain.encode()).digest()


def public_id(plain: str, kind: Kind) -> str | None:
    """The public id of a well-formed secret of that kind; None for anything else. Costs no query."""
    match = _FORM.fullmatch(plain)
    if match is None or match[1] != kind or not hmac.compare_digest(match[3], _checksum(plain[:-6])):
        return None
    return match[2]


def matches(plain: str, stored: bytes) -> bool:
    """Whether the secret is the stored one, in constant time."""
    return hmac.compare_digest(digest(plain), bytes(stored))


class Sealed:
    """Encrypts JSON values at rest with the field keys, newest first; a value made with an older key still opens."""

    def __init__(self, keys: list[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def seal(self, value: object) -> bytes:
        return self._fernet.encrypt(json.dumps(value).encode())

    def open(self, sealed: bytes) -> object:
        """Raises ValueError where no key fits."""
        try:
            return json.loads(self._fernet.decrypt(bytes(sealed)))
        except InvalidToken:
            raise ValueError("no key in FIELD_ENCRYPTION_KEYS opens this value") from None
