"""Which spellings of a URL deliveries can go to, and which custom headers can go along."""
# ruff: noqa: RUF001  # characters that look like others are what is tested

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from shared.egress import refused
from shared.targets import Reach, unsendable, unusable

REFUSED = "leads to an address that is refused: "
NO_IP = REFUSED + "not an IP address"
NO_NAME = "has a host that is no host name"
NO_URL = "is not a URL"
NO_HOST = "has no host"
NO_HTTPS = "must begin with https://"
BLANKS = "has blanks or control characters"
USER = "must not contain a user or password: send an Authorization header"
LOOPBACK = REFUSED + "loopback"
METADATA = REFUSED + "link-local, cloud metadata"

USABLE = [
    "https://receiver.example",
    "https://receiver.example/",
    "https://receiver.example/hook?a=b&c=%20d",
    "HTTPS://RECEIVER.EXAMPLE/hook",
    "hTTpS://Receiver.Example/hook",
    "https://receiver.example./hook",
    "https://receiver.example:8443/hook",
    "https://receiver.example:443/hook",
    "https://receiver.example:65535/",
    "https://receiver.example:/hook",
    "https://receiver.example?a=b",
    "https://receiver.example#part",
    "https://receiver.example/#@10.0.0.1/",
    "https://receiver.example#@10.0.0.1/",
    "https://receiver.example/@10.0.0.1/",
    "https://receiver.example/?u=http://10.0.0.1/",
    "https://receiver.example/a\\b",
    "https://receiver.example/a/../b",
    "https://receiver.example//double",
    "https://receiver.example/é?ü=ö",
    "https://bücher.example/",
    "https://BÜCHER.example/",
    "https://xn--bcher-kva.example/",
    "https://例え.テスト/",
    "https://receiver。example/",  # as browsers do, an ideographic full stop is a dot
    "https://receiver_1.example/",
    "https://a-b.example/",
    "https://1a.example/",
    "https://127.0.0.1.nip.example/",  # a name like others: judged by its address when it is called
    "https://localhost.example/",
    "https://notlocalhost/",
    "https://intranet/",
    "https://" + "a" * 63 + ".example/",
    "https://8.8.8.8/",
    "https://8.8.8.8:8443/hook",
    "https://１.１.１.１/",
    "https://[2606:4700:4700::1111]/",
    "https://[2606:4700:4700::1111]:8443/",
    "https://[2606:4700:4700:0:0:0:0:1111]/",
]
UNUSABLE = [
    # no host, or none that can be one
    ("", NO_HTTPS),
    ("https", NO_HTTPS),
    ("https:", NO_HOST),
    ("https:/", NO_HOST),
    ("https://", NO_HOST),
    ("https:///", NO_HOST),
    ("https:///receiver.example/", NO_HOST),
    ("https:receiver.example", NO_HOST),
    ("https:/receiver.example", NO_HOST),
    ("https://:443/", NO_HOST),
    ("https://?a=b", NO_HOST),
    ("https://#part", NO_HOST),
    ("https://./", NO_NAME),
    ("https://../", NO_NAME),
    ("https://receiver..example/", NO_NAME),
    ("https://receiver.example../", NO_NAME),
    ("https://.receiver.example/", NO_NAME),
    ("https://-receiver.example/", NO_NAME),
    ("https://receiver-.example/", NO_NAME),
    ("https://*.example/", NO_NAME),
    ("https://receiver,example/", NO_NAME),
    ("https://receiver;example/", NO_NAME),
    ("https://receiver'example/", NO_NAME),
    ("https://receiver%2eexample/", NO_NAME),
    ("https://receiver.example%00.example/", NO_NAME),
    ("https://127.0.0.%31/", NO_NAME),
    ("https://%31%32%37.0.0.1/", NO_IP),
    ("https://" + "a" * 64 + ".example/", NO_NAME),
    ("https://" + "a." * 127 + "example/", NO_NAME),
    # other schemes
    ("receiver.example", NO_HTTPS),
    ("//receiver.example/", NO_HTTPS),
    ("http://receiver.example/", NO_HTTPS),
    ("HTTP://receiver.example/", NO_HTTPS),
    ("httpss://receiver.example/", NO_HTTPS),
    ("ftp://receiver.example/", NO_HTTPS),
    ("file:///etc/passwd", NO_HTTPS),
    ("gopher://receiver.example/", NO_HTTPS),
    ("javascript:alert(1)", NO_HTTPS),
    ("data:text/plain,hello", NO_HTTPS),
    ("unix:///var/run/docker.sock", NO_HTTPS),
    ("http+unix://%2Fvar%2Frun%2Fdocker.sock/", NO_HTTPS),
    # blanks and control characters, which some parsers take away
    (" https://receiver.example/", BLANKS),
    ("https://receiver.example/ ", BLANKS),
    ("https://receiver.example/a b", BLANKS),
    ("ht\ttps://receiver.example/", BLANKS),
    ("https://rece\niver.example/", BLANKS),
    ("https://receiver.example/\r\nX: y", BLANKS),
    ("https://receiver.example/\x00", BLANKS),
    ("https://receiver.example/\x7f", BLANKS),
    ("https://receiver.example/\u00a0", BLANKS),
    ("https://receiver.example/\u2028", BLANKS),
    ("https://127.0.0\u200b.1/", BLANKS),
    ("https://loc\u00adalhost/", BLANKS),
    ("https://receiver.example/\ud800", BLANKS),
    # users, and other ways to make one host look like another
    ("https://user@receiver.example/", USER),
    ("https://user:password@receiver.example/", USER),
    ("https://@receiver.example/", USER),
    ("https://[]@/", NO_URL),
    ("https://[::1]@/", NO_HOST),
    ("https://[]@receiver.example/", NO_URL),
    ("https://receiver.example@10.0.0.1/", USER),
    ("https://receiver.example:443@10.0.0.1/", USER),
    ("https://receiver.example%40@10.0.0.1/", USER),
    ("https://receiver.example\\@10.0.0.1/", USER),
    ("https://10.0.0.1\\.receiver.example/", NO_URL),
    ("https://receiver.example\\hook", NO_URL),
    ("https:\\\\receiver.example\\hook", NO_HOST),
    ("https:/\\receiver.example/", NO_HOST),
    ("https://receiver.example℀10.0.0.1/", NO_URL),  # a/c, once it is normalised
    ("https://receiver.example／10.0.0.1/", NO_URL),
    ("https://receiver.example＠10.0.0.1/", NO_URL),
    ("https://receiver.example：80/", NO_URL),
    # ports
    ("https://receiver.example:0/", "has no usable port"),
    ("https://receiver.example:00/", "has no usable port"),
    ("https://receiver.example:65536/", NO_URL),
    ("https://receiver.example:99999/", NO_URL),
    ("https://receiver.example:-1/", NO_URL),
    ("https://receiver.example:+443/", NO_URL),
    ("https://receiver.example:https/", NO_URL),
    ("https://receiver.example:443:443/", NO_URL),
    ("https://receiver.example:４４３/", NO_URL),
    ("https://receiver.example:0x1bb/", NO_URL),
    # IPv4, as it should be and as it should not
    ("https://127.0.0.1/", LOOPBACK),
    ("https://127.0.0.1:8443/", LOOPBACK),
    ("https://10.0.0.1/", REFUSED + "private"),
    ("https://172.16.0.1/", REFUSED + "private"),
    ("https://192.168.0.1/", REFUSED + "private"),
    ("https://100.64.0.1/", REFUSED + "carrier-grade NAT"),
    ("https://169.254.169.254/latest/meta-data/", METADATA),
    ("https://168.63.129.16/", REFUSED + "cloud metadata"),
    ("https://0.0.0.0/", REFUSED + "this network"),
    ("https://255.255.255.255/", REFUSED + "reserved"),
    ("https://0/", NO_IP),
    ("https://1/", NO_IP),
    ("https://127.1/", NO_IP),
    ("https://127.0.1/", NO_IP),
    ("https://2130706433/", NO_IP),
    ("https://4294967296/", NO_IP),
    ("https://017700000001/", NO_IP),
    ("https://0x7f000001/", NO_IP),
    ("https://0X7F000001/", NO_IP),
    ("https://0x7f.0.0.1/", NO_IP),
    ("https://127.0.0.0x1/", NO_IP),
    ("https://127.0x1/", NO_IP),
    ("https://0x/", NO_IP),
    ("https://0177.0.0.1/", NO_IP),
    ("https://0177.0.0.01/", NO_IP),
    ("https://127.0.0.01/", NO_IP),
    ("https://127.0.0.1./", NO_IP),
    ("https://127.0.0.1../", NO_NAME),
    ("https://8.8.8.8./", NO_IP),
    ("https://1.2.3.256/", NO_IP),
    ("https://1.2.3.4.5/", NO_IP),
    ("https://receiver.1/", NO_IP),
    ("https://１２７.０.０.１/", LOOPBACK),
    ("https://127。0。0。1/", LOOPBACK),
    ("https://127．0．0．1/", LOOPBACK),
    ("https://127｡0｡0｡1/", LOOPBACK),
    ("https://①②⑦.⓪.⓪.①/", LOOPBACK),
    ("https://𝟏𝟐𝟕.𝟎.𝟎.𝟏/", LOOPBACK),
    ("https://１６９.２５４.１６９.２５４/", METADATA),
    ("https://２１３０７０６４３３/", NO_IP),
    ("https://０x7f.1/", NO_IP),
    # IPv6
    ("https://[::1]/", LOOPBACK),
    ("https://[0:0:0:0:0:0:0:1]/", LOOPBACK),
    ("https://[::]/", REFUSED + "unspecified"),
    ("https://[fe80::1]/", REFUSED + "link-local"),
    ("https://[fec0::1]/", REFUSED + "site-local"),
    ("https://[fd00:ec2::254]/", REFUSED + "private"),
    ("https://[::ffff:127.0.0.1]/", REFUSED + "IPv4-mapped"),
    ("https://[::ffff:7f00:1]/", REFUSED + "IPv4-mapped"),
    ("https://[::FFFF:169.254.169.254]/", REFUSED + "IPv4-mapped"),
    ("https://[::ffff:8.8.8.8]/", REFUSED + "IPv4-mapped"),
    ("https://[::127.0.0.1]/", REFUSED + "IPv4-compatible"),
    ("https://[::ffff:0:127.0.0.1]/", REFUSED + "IPv4-translated"),
    ("https://[64:ff9b::7f00:1]/", REFUSED + "NAT64"),
    ("https://[64:ff9b:1::a00:1]/", REFUSED + "NAT64"),
    ("https://[2002:7f00:1::]/", REFUSED + "6to4"),
    ("https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/", REFUSED + "Teredo"),
    ("https://[fe80::1%25eth0]/", REFUSED + "has a zone"),
    ("https://[fe80::1%eth0]/", REFUSED + "has a zone"),
    ("https://[2606:4700:4700::1111%251]/", REFUSED + "has a zone"),
    ("https://[::1/", NO_URL),
    ("https://::1]/", NO_URL),
    ("https://[]/", NO_URL),
    ("https://[/", NO_URL),
    ("https://[::1]x/", NO_URL),
    ("https://x[::1]/", NO_URL),
    ("https://[::1].example/", NO_URL),
    ("https://[[::1]]/", NO_URL),
    ("https://[127.0.0.1]/", NO_URL),
    ("https://[receiver.example]/", NO_URL),
    ("https://[v1.10]/", NO_URL),
    ("https://[v1.receiver]/", NO_URL),
    ("https://[vF.receiver.example]:443/", NO_URL),
    ("https://[::g]/", NO_URL),
    ("https://::1/", NO_HOST),
    # names whose address is known
    ("https://localhost/", LOOPBACK),
    ("https://localhost:8443/", LOOPBACK),
    ("https://LOCALHOST/", LOOPBACK),
    ("https://LocalHost./", LOOPBACK),
    ("https://receiver.localhost/", LOOPBACK),
    ("https://a.b.localhost./", LOOPBACK),
    ("https://localhost.localdomain/", LOOPBACK),
    ("https://ip6-localhost/", LOOPBACK),
    ("https://ｌｏｃａｌｈｏｓｔ/", LOOPBACK),
    ("https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", LOOPBACK),
    ("https://metadata/", METADATA),
    ("https://metadata.google.internal/computeMetadata/v1/", METADATA),
    ("https://METADATA.google.internal./", METADATA),
    ("https://metadata.goog/", METADATA),
    ("https://instance-data/", METADATA),
]
REACHES = [Reach(), Reach(allow_http=True, allowed=[ip_network("127.0.0.0/8")])]


@pytest.mark.parametrize("url", USABLE)
def test_a_url_of_the_internet_is_usable(url: str) -> None:
    assert unusable(url, Reach()) is None


@pytest.mark.parametrize(("url", "problem"), UNUSABLE)
def test_any_other_is_not_and_the_words_say_why(url: str, problem: str) -> None:
    assert unusable(url, Reach()) == problem


def test_the_corpus_is_as_large_as_we_say_and_names_each_spelling_once() -> None:
    spellings = [*USABLE, *(url for url, _ in UNUSABLE)]
    assert len(spellings) == len(set(spellings)) >= 60


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/", "http://localhost:8080/", "https://receiver.localhost/"])
def test_what_the_installation_allows_may_be_named(url: str) -> None:
    assert unusable(url, Reach()) is not None
    assert unusable(url, REACHES[1]) is None


def test_what_the_installation_does_not_allow_stays_refused_beside_it() -> None:
    assert unusable("http://10.0.0.1/", REACHES[1]) == REFUSED + "private"
    assert unusable("http://[::1]/", REACHES[1]) == LOOPBACK
    assert unusable("http://metadata/", REACHES[1]) == METADATA
    assert unusable("http://127.1/", REACHES[1]) == NO_IP
    assert unusable("ftp://127.0.0.1/", REACHES[1]) == NO_HTTPS


HOSTS = st.sampled_from([url.partition("://")[2].partition("/")[0] for url in [*USABLE, *(url for url, _ in UNUSABLE)]])
URLS = st.one_of(
    st.text(max_size=30),
    st.text(max_size=30).map(lambda text: f"https://{text}/"),
    st.tuples(HOSTS, st.sampled_from(["", "@", "\\", "#", ".", ":1", "%", "/"]), HOSTS).map(
        lambda parts: f"https://{''.join(parts)}/"
    ),
)


@given(URLS, st.sampled_from(REACHES))
def test_whatever_is_usable_is_called_at_the_host_that_was_judged(url: str, reach: Reach) -> None:
    if unusable(url, reach) is None:
        called = URL(url)
        host = called.raw_host or ""
        assert called.scheme == "https"
        assert called.user is None
        assert host.isascii()
        assert called.port
        if ":" in host or host.replace(".", "").isdigit():
            assert refused(host, reach.allowed) is None


@given(st.ip_addresses())
def test_an_address_in_a_url_is_judged_as_the_address_alone(address: object) -> None:
    text = str(address)
    problem = unusable(f"https://[{text}]/" if ":" in text else f"https://{text}/", Reach())
    reason = refused(text)
    assert problem == (f"{REFUSED}{reason}" if reason else None)


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({}, None),
        ({"Authorization": "Bearer x", "X-Anything": ""}, None),
        ({"Authorization": "a\r\nX: y"}, "has 'Authorization', which has a value that is not plain ASCII"),
        ({"X": "\x00"}, "has 'X', which has a value that is not plain ASCII"),
        ({"X": "é"}, "has 'X', which has a value that is not plain ASCII"),
        ({"X": "y" * 4097}, "has 'X', which has a value that is not plain ASCII"),
        ({"": "x"}, "has '', which is no header name"),
        ({"a b": "x"}, "has 'a b', which is no header name"),
        ({"a:": "x"}, "has 'a:', which is no header name"),
        ({"X\n": "x"}, "has 'X\\n', which is no header name"),
        ({"HOST": "x"}, "has 'HOST', which is reserved"),
        ({"Transfer-Encoding": "chunked"}, "has 'Transfer-Encoding', which is reserved"),
        ({"Content-Length": "0"}, "has 'Content-Length', which is reserved"),
        ({"Accept-Encoding": "gzip"}, "has 'Accept-Encoding', which is reserved"),
        ({"X-TrustLens-Signature": "x"}, "has 'X-TrustLens-Signature', which is reserved"),
        ({"Proxy-Authorization": "x"}, "has 'Proxy-Authorization', which is reserved"),
        ({"A": "1", "a": "2"}, "has a name twice, in other capitals"),
    ],
)
def test_headers_that_would_change_the_request_are_refused(headers: dict[str, str], problem: str | None) -> None:
    assert unsendable(headers) == problem
