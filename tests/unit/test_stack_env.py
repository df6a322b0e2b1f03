import pytest
import typer

from cli import stack_env


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "stack.env").write_text(
        "# the stack\nTRUSTLENS_API_URL=http://127.0.0.1:8080\nexport TRUSTLENS_STORE_ID='a b'\n\nTRUSTLENS_EMPTY=\n"
    )
    return tmp_path


def test_the_file_is_found_from_any_folder_below_the_checkout(checkout):
    deep = checkout / "a" / "b"
    deep.mkdir(parents=True)
    assert stack_env.find(deep) == checkout / ".local" / "stack.env"


def test_quotes_exports_and_comments_are_read_as_a_shell_would(checkout):
    assert stack_env.read({}, checkout) == {
        "TRUSTLENS_API_URL": "http://127.0.0.1:8080",
        "TRUSTLENS_STORE_ID": "a b",
        "TRUSTLENS_EMPTY": "",
    }


def test_the_environment_wins_over_the_file_and_only_our_names_count(checkout):
    values = stack_env.read({"TRUSTLENS_STORE_ID": "mine", "HOME": "/root"}, checkout)
    assert values["TRUSTLENS_STORE_ID"] == "mine"
    assert "HOME" not in values


def test_without_a_file_the_environment_is_all_there_is(tmp_path):
    assert stack_env.read({"TRUSTLENS_API_KEY": "k"}, tmp_path) == {"TRUSTLENS_API_KEY": "k"}


def test_a_missing_setting_ends_the_command_and_names_it(checkout, capsys):
    with pytest.raises(typer.Exit):
        stack_env.need(stack_env.read({}, checkout), "TRUSTLENS_EMPTY")
    assert "TRUSTLENS_EMPTY is not set" in capsys.readouterr().err
