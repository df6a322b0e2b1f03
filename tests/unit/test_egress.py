"""Which addresses may be called: the edges of every closed network, the forms that hide one, and what is none."""
# ruff: noqa: RUF001  # characters that look like others are what is tested

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.egress import refused

PUBLIC = [
    "1.0.0.0",
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "52.95.110.1",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.1.255",
    "192.0.3.0",
    "192.31.195.255",
    "192.31.197.0",
    "192.52.192.255",
    "192.52.194.0",
    "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255",
    "192.169.0.0",
    "192.175.47.255",
    "192.175.49.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "198.51.101.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "2000::",
    "2001:200::1",
    "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:db9::",
    "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2003::",
    "2606:4700:4700::1111",
    "2606:4700:4700:0000:0000:0000:0000:1111",
    "2606:4700:4700::127.0.0.1",  # the last 32 bits of a public network: nothing is translated there
    "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff",
    "2620:4f:8001::",
    "2A00:1450:4001:80E::200E",
    "2a00:1450:4001:80e::200e",
    "3ffe:ffff::",
    "3fff:1000::",
]
CLOSED = [
    ("127.0.0.0", "loopback"),
    ("127.0.0.1", "loopback"),
    ("127.1.2.3", "loopback"),
    ("127.255.255.255", "loopback"),
    ("::1", "loopback"),
    ("0:0:0:0:0:0:0:1", "loopback"),
    ("0000:0000:0000:0000:0000:0000:0000:0001", "loopback"),
    ("10.0.0.0", "private"),
    ("10.0.0.1", "private"),
    ("10.255.255.255", "private"),
    ("172.16.0.0", "private"),
    ("172.17.0.1", "private"),  # Docker's bridge
    ("172.31.255.255", "private"),
    ("192.168.0.0", "private"),
    ("192.168.1.1", "private"),
    ("192.168.255.255", "private"),
    ("fc00::", "private"),
    ("fd00:ec2::254", "private"),  # the metadata of AWS
    ("fd20:ce::254", "private"),  # of Google
    ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "private"),
    ("169.254.0.0", "link-local, cloud metadata"),
    ("169.254.0.23", "link-local, cloud metadata"),  # of Tencent
    ("169.254.169.254", "link-local, cloud metadata"),
    ("169.254.170.2", "link-local, cloud metadata"),  # credentials of AWS containers
    ("169.254.255.255", "link-local, cloud metadata"),
    ("168.63.129.16", "cloud metadata"),
    ("fe80::", "link-local"),
    ("fe80::1", "link-local"),
    ("febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local"),
    ("fec0::", "site-local"),
    ("feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "site-local"),
    ("100.64.0.0", "carrier-grade NAT"),
    ("100.100.100.200", "carrier-grade NAT"),  # the metadata of Alibaba
    ("100.127.255.255", "carrier-grade NAT"),
    ("0.0.0.0", "this network"),  # noqa: S104  # called, not listened on
    ("0.0.0.1", "this network"),
    ("0.255.255.255", "this network"),
    ("::", "unspecified"),
    ("0:0:0:0:0:0:0:0", "unspecified"),
    ("192.0.0.0", "reserved for protocols"),
    ("192.0.0.8", "reserved for protocols"),
    ("192.0.0.170", "reserved for protocols"),  # NAT64 discovery
    ("192.0.0.192", "reserved for protocols"),  # the metadata of Oracle
    ("192.0.0.255", "reserved for protocols"),
    ("192.0.2.0", "documentation"),
    ("192.0.2.255", "documentation"),
    ("198.51.100.0", "documentation"),
    ("198.51.100.255", "documentation"),
    ("203.0.113.0", "documentation"),
    ("203.0.113.255", "documentation"),
    ("192.31.196.1", "reserved for AS112"),
    ("192.175.48.1", "reserved for AS112"),
    ("192.52.193.1", "reserved for AMT"),
    ("192.88.99.1", "6to4 relay"),
    ("198.18.0.0", "benchmarking"),
    ("198.19.255.255", "benchmarking"),
    ("224.0.0.0", "multicast"),
    ("224.0.0.251", "multicast"),
    ("239.255.255.250", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.0", "reserved"),
    ("255.255.255.254", "reserved"),
    ("255.255.255.255", "reserved"),
    ("ff00::", "multicast"),
    ("ff02::1", "multicast"),
    ("ff0e::1", "multicast"),
    ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast"),
    ("2001::", "Teredo"),
    ("2001::1", "Teredo"),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"),
    ("2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "Teredo"),
    ("2001:1::1", "reserved for protocols"),
    ("2001:2::", "reserved for protocols"),
    ("2001:10::", "reserved for protocols"),  # ORCHID
    ("2001:20::", "reserved for protocols"),
    ("2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved for protocols"),
    ("2001:db8::", "documentation"),
    ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"),
    ("3fff::", "documentation"),
    ("3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"),
    ("2002::", "6to4"),
    ("2002:7f00:1::", "6to4"),
    ("2002:a00:1::1", "6to4"),
    ("2002:a9fe:a9fe::", "6to4"),
    ("2002:808:808::1", "6to4"),
    ("2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "6to4"),
    ("::ffff:127.0.0.1", "IPv4-mapped"),
    ("::ffff:7f00:1", "IPv4-mapped"),
    ("::FFFF:7F00:0001", "IPv4-mapped"),
    ("0:0:0:0:0:ffff:127.0.0.1", "IPv4-mapped"),
    ("::ffff:10.0.0.1", "IPv4-mapped"),
    ("::ffff:169.254.169.254", "IPv4-mapped"),
    ("::ffff:0.0.0.0", "IPv4-mapped"),
    ("::ffff:8.8.8.8", "IPv4-mapped"),
    ("::ffff:0:127.0.0.1", "IPv4-translated"),
    ("::ffff:0:8.8.8.8", "IPv4-translated"),
    ("::127.0.0.1", "IPv4-compatible"),
    ("::7f00:1", "IPv4-compatible"),
    ("::10.0.0.1", "IPv4-compatible"),
    ("::8.8.8.8", "IPv4-compatible"),
    ("::2", "IPv4-compatible"),
    ("64:ff9b::", "NAT64"),
    ("64:ff9b::127.0.0.1", "NAT64"),
    ("64:ff9b::7f00:1", "NAT64"),
    ("64:ff9b::a9fe:a9fe", "NAT64"),
    ("64:ff9b::808:808", "NAT64"),
    ("64:ff9b:1::1", "NAT64"),
    ("64:ff9b:1:ffff::10.0.0.1", "NAT64"),
    ("100::", "discard"),
    ("100::ffff:ffff:ffff:ffff", "discard"),
    ("100:0:0:1::", "reserved"),
    ("64:ff9a::1", "reserved"),
    ("200::1", "reserved"),
    ("400::1", "reserved"),
    ("1000::1", "reserved"),
    ("1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"),
    ("4000::", "reserved"),
    ("5f00::1", "reserved"),  # segment routing
    ("8000::1", "reserved"),
    ("fbff::1", "reserved"),
    ("fe00::1", "reserved"),
    ("fe7f::1", "reserved"),
    ("fe80::1%eth0", "has a zone"),
    ("fe80::1%25eth0", "has a zone"),
    ("::1%lo", "has a zone"),
    ("2606:4700:4700::1111%1", "has a zone"),
]
NO_ADDRESS = [
    "",
    " ",
    "localhost",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7F.1",
    "017700000001",
    "127.1",
    "127.0.1",
    "0177.0.0.1",
    "127.0.0.01",
    "127.0.0.1.",
    ".127.0.0.1",
    "127..0.1",
    " 127.0.0.1",
    "127.0.0.1 ",
    "127.0.0.1\n",
    "127.0.0.1\x00",
    "127.0.0.1:80",
    "127.0.0.1/8",
    "1.2.3.256",
    "1.2.3.4.5",
    "-1.2.3.4",
    "+1.2.3.4",
    "1e1.2.3.4",
    "４.４.４.４",
    "127。0。0。1",
    "①②⑦.⓪.⓪.①",
    "١٢٧.٠.٠.١",
    "[::1]",
    "::1]",
    ":::1",
    "::1::",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "12345::1",
    "::g",
    "::ffff:127.0.0.256",
    "::ffff:127.1",
    "v1.10",
    "1.1.1.1%1",
    "fe80::1%",
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


def test_the_corpus_is_as_large_as_we_say_and_names_each_form_once() -> None:
    forms = [*PUBLIC, *(address for address, _ in CLOSED), *NO_ADDRESS]
    assert len(forms) == len(set(forms)) >= 150


@pytest.mark.parametrize("address", [address for address, _ in CLOSED if "%" not in address])
def test_another_way_of_writing_an_address_is_judged_the_same(address: str) -> None:
    parsed = ip_address(address)
    assert refused(parsed.compressed) == refused(parsed.exploded) == refused(address.upper()) == refused(address)


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


@pytest.mark.parametrize("allowed", ["0.0.0.0/0", "::/0"])
def test_an_allowed_network_opens_neither_zones_nor_what_is_no_address(allowed: str) -> None:
    assert refused("fe80::1%eth0", [ip_network(allowed)]) == "has a zone"
    assert refused("127.1", [ip_network(allowed)]) == "not an IP address"


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:", "::ffff:0:", "::", "64:ff9b::"]))
def test_no_ipv4_address_is_let_through_inside_an_ipv6_one(address: object, prefix: str) -> None:
    assert refused(f"{prefix}{address}") is not None


@given(st.text(max_size=40))
def test_whatever_is_asked_about_gets_an_answer(text: str) -> None:
    assert refused(text) is None or refused(text)
