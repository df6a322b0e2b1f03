"""docs/sync.md: its columns are those that are read, its examples do what it says, its exit codes are the command's."""

import re
from pathlib import Path
from zoneinfo import ZoneInfo

from cli import order_csv
from cli.order_exports import Event, ExportFile, sheet

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = (REPOSITORY / "docs" / "sync.md").read_text(encoding="utf-8")
TABLE = DOCUMENT.partition("| column | also called |")[2].partition("\n\n")[0]
ROWS = [line.split("|")[1:3] for line in TABLE.splitlines() if line.startswith("| `")]


def test_it_names_every_column_with_its_other_names_and_which_are_needed() -> None:
    written = {
        name: (tuple(re.findall(r"`(\w+)`", others)), bool(star))
        for columns, others in ROWS
        for name, star in re.findall(r"`(\w+)`(\*?)", columns)
    }
    assert written == {column.name: (column.also, column.needed) for column in order_csv.COLUMNS}


def test_its_example_is_read_as_it_says(tmp_path: Path) -> None:
    text = re.search(r"```\n(id;.*?)```", DOCUMENT, re.DOTALL)
    assert text
    file = tmp_path / "orders.csv"
    file.write_text(text[1], encoding="utf-8")
    one, two, bad = ExportFile(file, sheet(file, zone=ZoneInfo("Europe/Berlin")))
    assert (isinstance(one, Event), isinstance(two, Event)) == (True, True)
    assert f"skipped 1: {getattr(bad, 'why', '')} (line {bad.number})" in DOCUMENT


def test_it_tells_of_every_option_of_the_commands() -> None:
    for option in ("--after", "--status", "--file", "--encoding", "--timezone", "--patience", "--resume"):
        assert option in DOCUMENT
    assert {"--delivery-url", "--no-sync"} <= set(re.findall(r"--[a-z-]+", DOCUMENT))
