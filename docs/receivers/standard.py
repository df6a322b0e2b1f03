"""Is this delivery from TrustLens, by its Standard Webhooks headers? Needs the library `standardwebhooks`."""

import re
from collections.abc import Mapping

from standardwebhooks import Webhook


def verify_standard_webhook(body: bytes, headers: Mapping[str, str], secret: str) -> bool:
    """True if the raw body was signed with `secret` (`whsec_…`) within the library's five minutes.

    The library raises errors of its own for a wrong signature, but also whatever it stumbles over in a malformed one,
    and it reads `1.7e9` as a time: this refuses all of that alike.
    """
    given = {name.lower(): value for name, value in headers.items()}
    if not re.fullmatch("[0-9]{1,15}", given.get("webhook-timestamp", "")):
        return False
    try:
        Webhook(secret).verify(body, given, json_parse=False)
    except Exception:
        return False
    return True
