"""What an operator reads of a mistake in the environment."""

import pytest

from dispatcher.settings import DispatcherSettings
from shared.settings import load

GOOD = {
    "TRUSTLENS_DATABASE_URL": "postgresql://localhost/trustlens",
    "TRUSTLENS_AMQP_URL": "amqp://localhost/",
    "TRUSTLENS_SECRET_KEYS": "k" * 44,
}


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **given: str) -> list[str]:
    """The lines of what is wrong, each up to its reason."""
    for name, value in (GOOD | given).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        load(DispatcherSettings)
    assert ended.value.code == 2
    return [line.partition(": ")[0] for line in capsys.readouterr().err.splitlines()]


def test_every_mistake_is_told_by_the_variable_that_has_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"TRUSTLENS_PORT": "-1", "TRUSTLENS_IN_FLIGHT": "many"}
    assert set(told(monkeypatch, capsys, **wrong)) == set(wrong)


def test_a_mistake_in_a_list_is_told_by_its_variable_and_item(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"TRUSTLENS_RETRY_DELAYS": "1,soon", "TRUSTLENS_ALLOWED_TARGETS": "10.0.0.0/99"}
    assert set(told(monkeypatch, capsys, **wrong)) == {
        "TRUSTLENS_RETRY_DELAYS item 2",
        "TRUSTLENS_ALLOWED_TARGETS item 1",
    }
