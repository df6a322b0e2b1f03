"""A mail's words, its headers, and that nothing from outside becomes a tag or a header."""

import json
import re
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.errors import MessageError
from email.message import EmailMessage
from html.parser import HTMLParser
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.destinations.email import LONGEST_SUBJECT, message, render
from dispatcher.destinations.means import Smtp
from dispatcher.destinations.webhook import Site
from unit.test_webhook_bodies import AUTOMATION, SITE

ID = UUID("00000000-0000-5000-8000-00000000000a")
NOW = datetime(2026, 6, 5, 14, 23, tzinfo=UTC)
SMTP = Smtp("mail.example", 587, "starttls", "shop", "secret", "Shop <alerts@shop.example>")
FACTS = (
    f"Customer: {'a3f2' * 16}\nSegment: risk\nTrust score: 34 of 100\nOrder: 4821\nRule: Watch returns\n"
    "Store: Café “Your Store”\n"
)


def body(*, to: str = "owner@shop.example", subject: str = "Look", text: str | None = "Please look.") -> bytes:
    return render(AUTOMATION, SITE, to=to, subject=subject, text=text)


def mail(frozen: bytes, *, smtp: Smtp = SMTP) -> EmailMessage:
    """As a receiver reads it."""
    sent = message(frozen, smtp=smtp, message_id=ID, now=NOW)
    return message_from_bytes(sent.as_bytes(policy=policy.SMTP), EmailMessage, policy=policy.default)


def part(found: EmailMessage, kind: str) -> str:
    chosen = found.get_body((kind,))
    assert chosen
    text: str = chosen.get_content()
    return text.replace("\r\n", "\n")


def test_the_body_is_frozen_with_text_and_facts_for_people_and_for_browsers() -> None:
    frozen = json.loads(body())
    assert list(frozen) == ["to", "subject", "text", "html"]
    assert frozen["text"] == f"Please look.\n\n{FACTS}"
    assert "<p>Please look.</p>" in frozen["html"]
    assert "<tr><td>Trust score</td><td>34 of 100</td></tr>" in frozen["html"]


def test_without_words_of_its_own_a_mail_names_the_rule() -> None:
    for nothing in (None, "", " \n"):
        assert json.loads(body(text=nothing))["text"].startswith("The rule “Watch returns” fired.\n")


def test_without_an_order_no_order_is_told() -> None:
    frozen = render(AUTOMATION.model_copy(update={"order_id": None}), SITE, to="a@b.example", subject="", text=None)
    assert "Order" not in json.loads(frozen)["text"]


def test_the_customers_address_is_not_told() -> None:
    frozen = json.loads(body())
    assert "@" not in frozen["text"] + frozen["html"]


def test_a_mail_has_both_forms_and_says_that_a_machine_wrote_it() -> None:
    found = mail(body())
    assert found["From"] == "Shop <alerts@shop.example>"
    assert found["To"] == "owner@shop.example"
    assert found["Subject"] == "Look"
    assert found["Date"].datetime == NOW
    assert found["Auto-Submitted"] == "auto-generated"
    assert part(found, "plain") == f"Please look.\n\n{FACTS}"
    assert part(found, "html") == json.loads(body())["html"]


def test_a_repeat_has_the_same_message_id() -> None:
    assert mail(body())["Message-ID"] == mail(body())["Message-ID"] == f"<{ID}@shop.example>"


def test_domains_are_written_in_their_ascii_form() -> None:
    assert mail(body(to="owner@bücher.example"))["To"] == "owner@xn--bcher-kva.example"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nobody",
        "@shop.example",
        "a@",
        "a@b.example, c@d.example",
        "a@b.example\r\nBcc: c@d.example",
        "a @b.example",
        "bücher@b.example",
    ],
)
def test_what_is_no_single_address_is_no_recipient(address: str) -> None:
    with pytest.raises((ValueError, MessageError)):
        message(body(to=address), smtp=SMTP, message_id=ID, now=NOW)


@pytest.mark.parametrize("sender", ["", "Shop", "Shop <>", "a@b.example\r\nBcc: c@d.example"])
def test_what_is_no_address_is_no_sender(sender: str) -> None:
    smtp = Smtp("mail.example", 587, "starttls", None, None, sender)
    with pytest.raises((ValueError, MessageError)):
        message(body(), smtp=smtp, message_id=ID, now=NOW)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(SMTP)


HEADERS = {
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
}
broken_lines = st.lists(
    st.one_of(
        st.sampled_from(["\r\n", "\n", "\r", "\x85", "Bcc: x@y", "\x00", "=?utf-8?q?a=0d=0aBcc:_x@y.example?="]),
        st.text(),
    )
)


@given(broken_lines.map("".join))
def test_no_subject_adds_a_header_or_a_line(subject: str) -> None:
    found = mail(body(subject=subject))
    assert set(found.keys()) == HEADERS
    assert len(json.loads(body(subject=subject))["subject"]) <= LONGEST_SUBJECT
    assert part(found, "plain") == f"Please look.\n\n{FACTS}"


class Tags(HTMLParser):
    """The tags that a browser would see, and what it would show."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: list[object] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += attrs


hostile = st.lists(
    st.one_of(st.sampled_from(["<script>", "</td>", "<!--", "-->", "&lt;b&gt;", '"', "'", "<a href=x>"]), st.text())
).map("".join)


@given(text=hostile, name=hostile, site=hostile)
def test_nothing_opens_a_tag(text: str, name: str, site: str) -> None:
    automation = AUTOMATION.model_copy(update={"rule": AUTOMATION.rule.model_copy(update={"name": name})})
    frozen = render(automation, Site(url="https://a.example", name=site), to="a@b.example", subject=name, text=text)
    tags = Tags()
    tags.feed(json.loads(frozen)["html"])
    assert tags.names == {"html", "body", "p", "table", "tr", "td"} | (tags.names & {"br"})
    assert tags.attributes == []
    assert not re.search(r"<(?!/?(?:html|body|p|table|tr|td|br|!doctype html)>)", json.loads(frozen)["html"])
