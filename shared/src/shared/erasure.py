"""What may be left of a customer who was erased: the hash and the numbers, none of what somebody wrote about them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from shared.events import Automation, Event, EventData, Snapshot
from shared.identity import email_hash, normalise_email
from shared.jsontext import dumps

REMOVED = "(e-mail)"
"""In place of the address within a longer text."""

_BETWEEN = r"\s<>()\[\]{}:;,\"'|\\/?&="
_MENTION = re.compile(rf"(?<![^{_BETWEEN}])[^{_BETWEEN}]+@[^{_BETWEEN}@]*[^{_BETWEEN}@.!]")
"""What may be an address in a text, without the stop that ends its sentence.

Looked for at the beginning of a word only: a long one without an @ would be read again from each of its letters.
"""


@dataclass(frozen=True, slots=True)
class Person:
    """Whose address is to be found, by those who do not know it: by its hash."""

    email_hash: str
    key: bytes = field(repr=False)
    """The store's."""

    def has(self, text: str) -> bool:
        """Whether the text is their address, in whatever form."""
        try:
            return "@" in text and email_hash(self.key, normalise_email(text)) == self.email_hash
        except ValueError:
            return False

    def removed_from(self, text: str) -> str:
        if "@" not in text:
            return text
        return _MENTION.sub(lambda found: REMOVED if self.has(found[0]) else found[0], text)


# What services parsed -------------------------------------------------------------------------------------------------


def forget_data(data: EventData) -> EventData:
    refund = data.refund and data.refund.model_copy(update={"reason": ""})
    return data.model_copy(update={"email": None, "reason": None, "refund": refund})


def forget_event(event: Event) -> Event:
    return event.model_copy(update={"customer": _forget_snapshot(event.customer), "data": forget_data(event.data)})


def forget_automation(automation: Automation, person: Person) -> Automation:
    """A mail to the customer loses its recipient: there is no such mail without the address."""
    params = {
        name: person.removed_from(text) for name, text in automation.action.params.items() if not person.has(text)
    }
    action = automation.action.model_copy(update={"params": params})
    return automation.model_copy(update={"customer": _forget_snapshot(automation.customer), "action": action})


def _forget_snapshot(customer: Snapshot) -> Snapshot:
    return customer.model_copy(update={"email": None, "email_domain": None, "tags": ()})


# What is only bytes ---------------------------------------------------------------------------------------------------


def forget_text(raw: bytes, person: Person) -> bytes:
    """The same JSON, or any other text, without the person; equal where they were not in it.

    Also what was written about them: the reasons in a message whose `customer` they are, and of their orders' refunds;
    and what beside their address tells who they are, as it is hashed.
    """
    try:
        value = json.loads(raw, parse_float=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError):
        text = raw.decode("utf-8", "surrogateescape")
        return person.removed_from(text).encode("utf-8", "surrogateescape")
    left = _without(value, person, about_them=_is_about(value, person))
    return raw if left == value else dumps(left).encode("utf-8", "surrogatepass")


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _is_about(value: Any, person: Person) -> bool:
    match value:
        case {"customer": {"email_hash": str(hashed)}}:
            return hashed == person.email_hash
        case _:
            return False


def _without(value: Any, person: Person, *, about_them: bool) -> Any:
    match value:
        case str():
            return None if person.has(value) else person.removed_from(value)
        case list():
            return [_without(item, person, about_them=about_them) for item in value]
        case dict():
            theirs = isinstance(email := value.get("email"), str) and person.has(email)
            left = {name: _without(item, person, about_them=about_them or theirs) for name, item in value.items()}
            hashed: dict[str, Any] = {"fingerprints": []} if theirs and "fingerprints" in value else {}
            return {**left, **hashed, **_nothing_personal(left, person, about_them=about_them)}
        case _:
            return value


def _nothing_personal(told: Mapping[str, Any], person: Person, *, about_them: bool) -> Mapping[str, Any]:
    """What takes the place of a snapshot's fields and of reasons, as far as they are there."""
    emptied: dict[str, Any] = {"reason": ""} if about_them and told.get("reason") else {}
    if told.get("email_hash") == person.email_hash:
        emptied |= {"email": None, "email_domain": None, "tags": []}
    return {name: nothing for name, nothing in emptied.items() if name in told}
