"""The demo's shop as a file."""

import json
from pathlib import Path

from typer.testing import CliRunner

from cli.app import app
from cli.order_lines import OrderFile, OrderLine


def test_the_file_of_a_shop_is_one_that_replay_reads(tmp_path: Path) -> None:
    file = tmp_path / "orders.ndjson"
    result = CliRunner().invoke(app, ["shop", str(file)])
    lines = list(OrderFile(file, skip=0))
    assert result.output.startswith(f"{len(lines):,} webhooks")
    assert len(lines) > 1000
    assert all(isinstance(line, OrderLine) for line in lines)
    assert {json.loads(line)["topic"] for line in file.read_text().splitlines()} == {"order.created", "order.updated"}
