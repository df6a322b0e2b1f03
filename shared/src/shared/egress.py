"""May we call this address? The internet, yes; whatever lies behind a wall of ours or of the cloud's, no.

Networks are those of the IANA special-purpose registries (RFC 6890 and its updates), and the addresses at which
clouds answer their own machines.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

_CLOSED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), reason)
    for network, reason in (
        ("168.63.129.16/32", "cloud metadata"),  # Azure's, within a public range
        ("169.254.0.0/16", "link-local, cloud metadata"),
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "reserved for AS112"),
        ("192.52.193.0/24", "reserved for AMT"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "reserved for AS112"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("::ffff:0:0:0/96", "IPv4-translated"),
        ("::/96", "IPv4-compatible"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("100::/64", "discard"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "reserved for protocols"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "reserved for AS112"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST = ip_network("2000::/3")
"""All of IPv6 that is given out to the internet (RFC 4291 §2.4); what is outside may become anything."""


def refused(address: str, allowed: Sequence[Network] = ()) -> str | None:
    """Why an address may not be called, in a word or two; None if it may. `allowed` opens what is closed."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "not an IP address"
    if isinstance(parsed, IPv6Address) and parsed.scope_id is not None:
        return "has a zone"  # means a link of this machine's, whatever the address
    if any(parsed in network for network in allowed):
        return None
    for network, reason in _CLOSED:
        if parsed in network:
            return reason
    return "reserved" if parsed.version == 6 and parsed not in _GLOBAL_UNICAST else None
