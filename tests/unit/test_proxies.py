from ipaddress import ip_network

import pytest

from api.proxies import caller_address, caller_scheme

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "caller"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),  # anybody can write the header
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),  # the caller wrote the first himself
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.1", "10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["jane@example.com"], "10.0.0.1"),
        ("fd00::1", ["2001:DB8::0001"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        (None, ["198.51.100.1"], None),
    ],
)
def test_only_what_trusted_proxies_wrote_is_believed(peer: str | None, forwarded: list[str], caller: str) -> None:
    assert caller_address(peer, forwarded, PROXIES) == caller


def test_without_trusted_proxies_the_peer_is_the_caller() -> None:
    assert caller_address("10.0.0.1", ["198.51.100.1"], ()) == "10.0.0.1"


@pytest.mark.parametrize(
    ("peer", "forwarded", "scheme"),
    [
        ("10.0.0.1", "https", "https"),
        ("10.0.0.1", "HTTP", "http"),
        ("10.0.0.1", "https, http", "https"),
        ("10.0.0.1", "", None),
        ("10.0.0.1", "gopher", None),
        ("203.0.113.7", "https", None),
        (None, "https", None),
    ],
)
def test_only_a_trusted_proxy_says_by_which_scheme_the_caller_came(
    peer: str | None, forwarded: str, scheme: str | None
) -> None:
    assert caller_scheme(peer, forwarded, PROXIES) == scheme
