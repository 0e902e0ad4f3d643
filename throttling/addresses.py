"""Whose address a request comes from, behind proxies that are trusted. Pure."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


def client(peer: str, forwarded_for: str | None, trusted: Sequence[Network]) -> str:
    """The nearest address that is no trusted proxy's: `peer` itself, or the last such one in `X-Forwarded-For`.

    What stands before it in the header could have been written by anybody, and is not looked at.
    """
    chain = [*(forwarded_for or "").split(","), peer]
    for address in map(str.strip, reversed(chain)):
        if not _trusted(address, trusted):
            return address if _known(address) else peer
    return peer


def _known(address: str) -> bool:
    try:
        ip_address(address)
    except ValueError:
        return False
    return True


def _trusted(address: str, trusted: Sequence[Network]) -> bool:
    return _known(address) and any(ip_address(address) in network for network in trusted)
