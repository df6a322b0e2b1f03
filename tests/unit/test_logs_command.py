"""`trustlens logs`: which lines are shown, in which order, and while their files grow, end and begin anew."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from cli import log_files
from cli.log_files import Followed, Line, parsed
from cli.logs import Wanted, last, moment, new, shown
from shared.log import Terminal

NOW = datetime(2026, 6, 5, 14, 23, 5, tzinfo=UTC)
TODAY = NOW.astimezone().date()
ENDPOINT = "01a20f98-0e1a-7682-984e-45a94e2cac05"
FATAL = "2026-06-05 14:23:05.001 UTC [17] FATAL:  the database system is shutting down"
FRAMES = ["Traceback (most recent call last):", '  File "x.py", line 1']


def written(event: str = "delivery.attempt", *, seconds: float = 0, **told: object) -> str:
    at = (NOW + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    return json.dumps({"event": event, "level": "info", "service": "dispatcher", "timestamp": at, **told})


def attempt(**told: object) -> str:
    ours: dict[str, Any] = {
        "delivery": "984f75c8-c0af-5829-8c25-102a084f413c",
        "endpoint": ENDPOINT,
        "event_type": "score_updated",
        "customer": "abababababab",
        "status": 500,
        "attempt": "2/4",
        "ms": 31,
        "next": "120 s",
        "why": "answered 500",
        "level": "warning",
    }
    return written(**ours | told)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "dispatcher.log"
    path.write_text("")
    return path


def add(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


def on_screen(text: str, today: date = TODAY) -> str:
    return shown(parsed(text), Terminal(colours=False), today)


def test_an_attempt_is_shown_as_the_dispatcher_writes_it_on_a_terminal() -> None:
    stamp = NOW.astimezone().strftime("%H:%M:%S")
    assert on_screen(attempt()) == (
        f"{stamp} score_update 984f75c8 01a20f98 abababababab    500 2/4    31 120 s answered 500"
    )


def test_a_line_of_another_day_says_so() -> None:
    assert on_screen(attempt(), date(2026, 6, 7)).startswith(NOW.astimezone().strftime("%m-%d %H:%M:%S "))


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", '{"event": "x"}', '"text"', "{", "NaN", FATAL, *FRAMES])
def test_what_is_none_of_our_lines_is_shown_as_it_is(text: str) -> None:
    assert on_screen(text) == text


def test_an_attempt_of_another_version_is_shown_as_it_is() -> None:
    assert on_screen(written()) == written()


def test_what_a_line_carries_does_not_drive_the_terminal() -> None:
    assert "\x1b" not in on_screen(attempt(why="\x1b[2J"))
    assert "\x1b" not in on_screen("\x1b[2J")


@pytest.mark.parametrize(
    ("wanted", "line", "has"),
    [
        (Wanted(), attempt(), True),
        (Wanted(endpoint=ENDPOINT), attempt(), True),
        (Wanted(endpoint="01A20F98"), attempt(), True),
        (Wanted(endpoint="01a20f980e1a"), attempt(), True),
        (Wanted(endpoint="01a20f99"), attempt(), False),
        (Wanted(endpoint="01a20f98"), written("broker.lost"), False),
        (Wanted(customer="abab"), attempt(), True),
        (Wanted(customer="ab" * 32), attempt(), True),
        (Wanted(customer="ab" * 6 + "00" * 26), attempt(), True),  # lines have the first twelve digits only
        (Wanted(customer="abac"), attempt(), False),
        (Wanted(customer="ab"), written("broker.lost"), False),
        (Wanted(event="score_updated"), attempt(), True),
        (Wanted(event="delivery"), attempt(), True),
        (Wanted(event="delivery.attempt"), attempt(), True),
        (Wanted(event="broker"), attempt(), False),
        (Wanted(level="warning"), attempt(), True),
        (Wanted(level="warning"), attempt(level="info"), False),
        (Wanted(level="error"), attempt(), False),
        (Wanted(level="error"), attempt(level="critical"), True),
        (Wanted(level="error"), FRAMES[1], True),
        (Wanted(endpoint="01"), FRAMES[1], False),
        (Wanted(level="error"), FATAL, True),
        (Wanted(level="warning"), FATAL.replace("FATAL", "LOG"), False),
        (Wanted(level="warning"), "2026-06-05 14:23:05.1+00:00 [warning] <0.1.0> it is low on disk", True),
        (Wanted(level="warning"), "2026-06-05 14:23:05.1+00:00 [notice] <0.1.0> it began", False),
    ],
)
def test_lines_are_chosen_by_what_they_say(wanted: Wanted, line: str, has: bool) -> None:
    assert wanted.has(parsed(line)) is has


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("30s", NOW - timedelta(seconds=30)),
        ("10m", NOW - timedelta(minutes=10)),
        ("2h", NOW - timedelta(hours=2)),
        ("1d", NOW - timedelta(days=1)),
        ("2026-06-05", datetime(2026, 6, 5, tzinfo=UTC)),
        ("2026-06-05T14:20", datetime(2026, 6, 5, 14, 20, tzinfo=UTC)),
        ("2026-06-05T16:20+02:00", datetime(2026, 6, 5, 14, 20, tzinfo=UTC)),
    ],
)
def test_since_is_a_time_or_how_long_ago(text: str, at: datetime) -> None:
    assert moment(text, NOW) == at


@pytest.mark.parametrize("text", ["yesterday", "10", "m", "-1m"])
def test_another_since_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        moment(text, NOW)


def test_the_last_lines_of_several_logs_are_in_the_order_of_their_times(log: Path, tmp_path: Path) -> None:
    other = tmp_path / "postgres.log"
    first, second, third = (attempt(seconds=seconds) for seconds in (0, 1, 2))
    add(log, first, *FRAMES, third)
    add(other, FATAL, second)
    with Followed(log) as ours, Followed(other) as its:
        assert texts(last([ours, its], Wanted(), None)) == [first, *FRAMES, FATAL, second, third]
        assert texts(last([ours, its], Wanted(), 2)) == [second, third]
        assert texts(last([ours, its], Wanted(since=NOW + timedelta(seconds=1)), None)) == [second, third]


def test_what_a_server_writes_after_a_line_is_as_bad_as_that_line_and_what_python_writes_may_be_worse(
    log: Path,
) -> None:
    notice, banner = (
        "2026-06-05 14:23:05.1+00:00 [notice] <0.1.0> it began",
        ["  ##  ##      RabbitMQ 3.10.8", "  ####"],
    )
    refused = ["2026-06-05 14:23:06.1+00:00 [error] <0.1.0> refused:", "its credentials"]
    add(log, notice, *banner)
    with Followed(log) as file:
        assert texts(last([file], Wanted(level="error"), None)) == []
        add(log, *refused, notice, *banner, attempt(level="info", seconds=60), *FRAMES)
        assert texts(new([file], Wanted(level="error"))) == [*refused, *FRAMES]
        assert texts(last([file], Wanted(level="error"), None)) == [*refused, *FRAMES]


@given(st.lists(st.binary(max_size=9).filter(lambda line: b"\n" not in line)), st.integers(1, 12))
def test_a_file_read_from_its_end_has_the_lines_that_it_has_from_its_beginning(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], block: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "x.log"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    with path.open("rb") as file:
        found = list(log_files.backwards(file, path.stat().st_size, block=block))
    assert texts(found[::-1]) == [line.decode(errors="replace") for line in lines if line]


def test_only_what_is_wanted_counts_as_one_of_the_last_lines(log: Path) -> None:
    failures = [attempt(ms=n) for n in range(3)]
    add(log, *failures, *(attempt(level="info") for _ in range(50)))
    with Followed(log) as file:
        assert texts(last([file], Wanted(level="warning"), 2)) == failures[1:]


def look(file: Followed) -> list[str]:
    return texts(new([file], Wanted()))


def test_what_comes_is_shown_once_and_whole(log: Path) -> None:
    add(log, "before")
    with Followed(log) as file:
        assert texts(last([file], Wanted(), 0)) == []
        assert look(file) == []
        with log.open("a") as writer:
            writer.write("its begin")
            writer.flush()
            assert look(file) == []
            writer.write("ning and its end\nthe next\n")
        assert look(file) == ["its beginning and its end", "the next"]
        assert look(file) == []


def emptied(log: Path) -> None:
    log.write_text("")


def replaced(log: Path) -> None:
    log.rename(log.with_suffix(".1"))
    log.write_text("")


@pytest.mark.parametrize("rotate", [emptied, replaced])
def test_a_log_that_is_emptied_or_replaced_is_followed(log: Path, rotate: Callable[[Path], None]) -> None:
    add(log, "before")
    with Followed(log) as file:
        last([file], Wanted(), 0)
        rotate(log)
        assert look(file) == []
        add(log, "after")
        assert look(file) == ["after"]


def test_what_was_written_before_a_log_was_replaced_is_shown_too(log: Path) -> None:
    with Followed(log) as file:
        last([file], Wanted(), 0)
        add(log, "the last line of the old one")
        log.rename(log.with_suffix(".1"))
        assert look(file) == ["the last line of the old one"]
        add(log, "the first line of the new one")
        assert look(file) == ["the first line of the new one"]


def test_frames_of_a_traceback_stay_behind_the_line_that_they_came_with(log: Path, tmp_path: Path) -> None:
    other = tmp_path / "api.log"
    add(other, "")
    with Followed(log) as ours, Followed(other) as its:
        last([ours, its], Wanted(), 0)
        first, later = attempt(seconds=1), attempt(seconds=2)
        add(log, first, *FRAMES)
        add(other, later)
        assert texts(new([ours, its], Wanted())) == [first, *FRAMES, later]
