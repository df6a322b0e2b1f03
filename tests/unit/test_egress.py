"""Which addresses may be called."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.egress import refused

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80e::200e",
    "2001:200::1",
]
CLOSED = [
    ("127.0.0.1", "loopback"),
    ("127.255.255.255", "loopback"),
    ("::1", "loopback"),
    ("10.0.0.1", "private"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.168.1.1", "private"),
    ("fd00:ec2::254", "private"),
    ("fc00::1", "private"),
    ("169.254.169.254", "link-local, cloud metadata"),
    ("168.63.129.16", "cloud metadata"),
    ("fe80::1", "link-local"),
    ("fec0::1", "site-local"),
    ("100.64.0.1", "carrier-grade NAT"),
    ("100.100.100.200", "carrier-grade NAT"),
    ("0.0.0.0", "this network"),  # noqa: S104  # called, not listened on
    ("0.1.2.3", "this network"),
    ("::", "unspecified"),
    ("192.0.0.192", "reserved for protocols"),
    ("192.0.2.1", "documentation"),
    ("198.18.0.1", "benchmarking"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.255", "reserved"),
    ("ff02::1", "multicast"),
    ("2001::1", "Teredo"),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"),
    ("2001:db8::1", "documentation"),
    ("2002:7f00:1::", "6to4"),
    ("2002:808:808::1", "6to4"),
    ("::ffff:127.0.0.1", "IPv4-mapped"),
    ("::ffff:8.8.8.8", "IPv4-mapped"),
    ("::ffff:0:127.0.0.1", "IPv4-translated"),
    ("::127.0.0.1", "IPv4-compatible"),
    ("64:ff9b::7f00:1", "NAT64"),
    ("64:ff9b::808:808", "NAT64"),
    ("64:ff9b:1::1", "NAT64"),
    ("100::1", "discard"),
    ("4000::1", "reserved"),
]
NO_ADDRESS = [
    "",
    "localhost",
    "2130706433",
    "0x7f000001",
    "127.1",
    "0177.0.0.1",
    "127.0.0.1.",
    " 127.0.0.1",
    "1.2.3.256",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_the_internet_may_be_called(address: str) -> None:
    assert refused(address) is None


@pytest.mark.parametrize(("address", "reason"), CLOSED)
def test_what_is_behind_a_wall_may_not_and_the_reason_says_which(address: str, reason: str) -> None:
    assert refused(address) == reason


@pytest.mark.parametrize("address", NO_ADDRESS)
def test_what_is_no_address_is_refused(address: str) -> None:
    assert refused(address) == "not an IP address"


@given(st.ip_addresses(v=4))
def test_no_address_that_is_not_global_is_let_through(address: object) -> None:
    if not ip_address(str(address)).is_global:
        assert refused(str(address)) is not None


@given(st.ip_addresses(v=6))
def test_no_ipv6_address_that_is_not_global_is_let_through(address: object) -> None:
    if not ip_address(str(address)).is_global:
        assert refused(str(address)) is not None


def test_the_allow_list_opens_exactly_its_networks() -> None:
    allowed = [ip_network("127.0.0.0/8"), ip_network("fd00::/64")]
    assert refused("127.0.0.1", allowed) is None
    assert refused("fd00::1", allowed) is None
    assert refused("fd00:1::1", allowed) == "private"
    assert refused("10.0.0.1", allowed) == "private"
    assert refused("::ffff:127.0.0.1", allowed) == "IPv4-mapped"
