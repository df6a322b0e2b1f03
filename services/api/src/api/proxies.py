"""Where a request comes from, through proxies that are trusted to say so, and to whom it is addressed."""

import re
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

from shared.egress import Network

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[(?P<v6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]{1,5}))?")
_MAX_PORT = 65535


def caller_address(peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> str | None:
    """The address nearest to the caller that we can know; an unreadable one ends the way there.

    `forwarded`: the X-Forwarded-For headers in their order. Each proxy adds whom it was called by at the end, so they
    are read from there, and only as far as those who wrote them are trusted: what is before that anybody can write.
    """
    hops = [hop.strip() for header in forwarded for hop in header.split(",")]
    while hops and is_trusted(peer, trusted):
        hop = _address(hops.pop())
        if hop is None:
            break
        peer = hop
    return peer


def caller_scheme(peer: str | None, forwarded: str, trusted: Sequence[Network]) -> str | None:
    """The scheme by which the caller came to a trusted proxy; None: nobody who is trusted says so.

    `forwarded`: the X-Forwarded-Proto header; of several proxies' the first is nearest to the caller.
    """
    scheme = forwarded.partition(",")[0].strip().lower()
    return scheme if scheme in {"http", "https"} and is_trusted(peer, trusted) else None


def is_host(header: str) -> bool:
    """Whether a Host header names one: links are made of it."""
    match = _HOST.fullmatch(header)
    if match is None or int(match["port"] or 0) > _MAX_PORT:
        return False
    return match["v6"] is None or _address(match["v6"]) is not None


def is_trusted(address: str | None, trusted: Sequence[Network]) -> bool:
    known = _address(address or "")
    return known is not None and any(ip_address(known) in network for network in trusted)


def _address(text: str) -> str | None:
    """Normalised, an IPv4 address in IPv6 clothes as what it is; None for what is no address, as `unknown`."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return str((address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address)
