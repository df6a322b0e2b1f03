"""Secrets at rest: Fernet tokens under one or more keys, the first of which encrypts."""

import base64
import secrets as random

from cryptography.fernet import Fernet, InvalidToken, MultiFernet


class NoKeyError(LookupError):
    """None of our keys opens a secret: a mistake in this process's settings, never the message's fault."""


class Vault:
    """Seals and opens secrets. Old keys stay in the list until everything is sealed anew."""

    def __init__(self, keys: str) -> None:
        """`keys`: Fernet keys separated by commas, the newest first.

        Raises:
            ValueError: a key is not 32 URL-safe base64 bytes, or there is none.
        """
        self._fernet = MultiFernet([Fernet(key.strip()) for key in keys.split(",") if key.strip()])

    def seal(self, secret: bytes) -> bytes:
        return self._fernet.encrypt(secret)

    def renew(self, token: bytes) -> bytes:
        """The same secret, sealed under the first key.

        Raises:
            NoKeyError: none of the keys opens it.
        """
        return self.seal(self.open(token))

    def open(self, token: bytes) -> bytes:
        """
        Raises:
            NoKeyError: none of the keys opens it.
        """
        try:
            return self._fernet.decrypt(token)
        except InvalidToken:
            raise NoKeyError("no key in TRUSTLENS_SECRET_KEYS opens this secret") from None


def generate(prefix: str = "") -> str:
    """A new secret of 32 random bytes, URL-safe, with a prefix that tells people what it is."""
    return prefix + random.token_urlsafe(32)


def generate_standard() -> str:
    """A new secret of 32 random bytes, as Standard Webhooks libraries read them."""
    return "whsec_" + base64.b64encode(random.token_bytes(32)).decode()
