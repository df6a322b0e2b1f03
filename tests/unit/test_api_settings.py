from typing import Any

import pytest
from pydantic import ValidationError

from api.settings import ApiSettings

GOOD: dict[str, Any] = {
    "database_url": "postgresql://localhost/trustlens",
    "amqp_url": "amqp://localhost/",
    "secret_keys": "k" * 43 + "=",
}


def test_origins_proxies_and_targets_are_lists_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTLENS_CORS_ORIGINS", "https://a.example, http://localhost:3000,")
    monkeypatch.setenv("TRUSTLENS_TRUSTED_PROXIES", "10.0.0.0/8,::1/128")
    monkeypatch.setenv("TRUSTLENS_ALLOWED_TARGETS", "127.0.0.0/8, 10.0.0.0/8")

    settings = ApiSettings(**GOOD)

    assert settings.cors_origins == ("https://a.example", "http://localhost:3000")
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    assert [str(network) for network in settings.allowed_targets] == ["127.0.0.0/8", "10.0.0.0/8"]


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "a.example",
        "https://",
        "https://*.a.example",
        "https://a.example/",
        "https://A.example",
        "ftp://a.b",
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(ValidationError):
        ApiSettings(**GOOD, cors_origins=(origin,))
