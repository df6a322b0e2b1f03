"""What an operator reads of a mistake in the environment."""

from pathlib import Path

import pytest

from dispatcher.settings import DispatcherSettings
from shared.settings import DatabaseSettings, load

GOOD = {
    "TRUSTLENS_DATABASE_URL": "postgresql://localhost/trustlens",
    "TRUSTLENS_AMQP_URL": "amqp://localhost/",
    "TRUSTLENS_SECRET_KEYS": "k" * 43 + "=",
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


@pytest.mark.parametrize("keys", ["k" * 44, "k" * 43, f"{'k' * 43}=,{'k' * 40}", ",", "é" * 44])
def test_a_key_that_could_seal_nothing_is_told_with_the_other_mistakes_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], keys: str
) -> None:
    wrong = {"TRUSTLENS_PORT": "-1", "TRUSTLENS_SECRET_KEYS": keys}
    for name, value in (GOOD | wrong).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        load(DispatcherSettings)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["TRUSTLENS_SECRET_KEYS", "TRUSTLENS_PORT"]
    assert "kkkk" not in lines[0]


def test_a_password_that_ends_the_server_s_name_is_told_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {
        "TRUSTLENS_DATABASE_URL": "postgresql://u:pass#word@host:5432/x",
        "TRUSTLENS_AMQP_URL": "amqp://u:pass/word@host:5672/",
    }
    for name, value in (GOOD | wrong).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        load(DispatcherSettings)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == list(wrong)
    assert "word@" not in "".join(lines)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///trustlens?host=/run/postgresql",
        "postgresql://u:p%23%2F@one:5432,two:5433/x",
        "postgres://u@[::1]:5432/x",
        "postgresql://u:p@host/x?sslmode=require",
    ],
)
def test_every_way_to_name_a_postgres_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("TRUSTLENS_DATABASE_URL", url)
    assert load(DatabaseSettings).database_url == url


def test_a_mistake_in_a_list_is_told_by_its_variable_and_item(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"TRUSTLENS_RETRY_DELAYS": "1,soon", "TRUSTLENS_ALLOWED_TARGETS": "10.0.0.0/99"}
    assert set(told(monkeypatch, capsys, **wrong)) == {
        "TRUSTLENS_RETRY_DELAYS item 2",
        "TRUSTLENS_ALLOWED_TARGETS item 1",
    }


def test_what_is_missing_is_told_together_with_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in GOOD:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRUSTLENS_POOL_SIZE", "1")
    with pytest.raises(SystemExit):
        load(DispatcherSettings)
    told = capsys.readouterr().err
    assert all(f"{name}: " in told for name in (*GOOD, "TRUSTLENS_POOL_SIZE"))


def test_a_file_of_a_variables_name_says_what_the_variable_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRUSTLENS_DATABASE_URL", raising=False)
    (tmp_path / "trustlens_database_url").write_text("postgresql://file/trustlens\n")
    (tmp_path / "of_somebody_else").write_text("")
    assert load(DatabaseSettings, tmp_path).database_url == "postgresql://file/trustlens"
    monkeypatch.setenv("TRUSTLENS_DATABASE_URL", "postgresql://variable/trustlens")
    assert load(DatabaseSettings, tmp_path).database_url == "postgresql://variable/trustlens"
    assert load(DatabaseSettings, tmp_path / "none").database_url == "postgresql://variable/trustlens"
