"""A rule written, tried, switched on and asked about at the terminal, on the whole system."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.api import NAMESPACE, connected
from support.servers import without_trustlens

TRUSTLENS = Path(sys.executable).with_name("trustlens")
JANE = "jane@why.example"
RULE = {
    "name": "Expensive",
    "trigger": "order_placed",
    "conditions": {"field": "order.total", "operator": ">", "value": 200},
    "actions": [{"type": "tag_customer", "tag": "expensive"}],
    "cooldown": 0,
    "mode": "off",
}


async def rules(road: Mapping[str, str], *words: str, stdin: str = "") -> str:
    """What `trustlens rules` printed."""
    process = await asyncio.create_subprocess_exec(
        TRUSTLENS,
        "rules",
        *words,
        env=without_trustlens() | dict(road) | {"COLUMNS": "80", "PATH": os.environ["PATH"]},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate(stdin.encode())
    assert process.returncode == 0, printed.decode()
    return printed.decode()


async def told(road: Mapping[str, str], words: tuple[str, ...], wanted: str) -> str:
    """What is printed once it has something in it; pytest's timeout ends the waiting."""
    while wanted not in (printed := await rules(road, *words)):
        pass  # a command takes its time
    return printed


async def ordered(road: Mapping[str, str], number: int, amount: str) -> None:
    at = datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00")
    data = {
        "id": number,
        "number": str(number),
        "status": "processing",
        "currency": "EUR",
        "total": amount,
        "date_created_gmt": at,
        "date_modified_gmt": at,
        "billing": {"email": JANE},
        "line_items": [],
        "refunds": [],
    }
    body = {"events": [{"id": f"why-{number}", "type": "order", "occurred_at": f"{at}Z", "data": data}]}

    async def work(api: Any) -> Any:
        return await api.post("/ingest/events", body)

    answer = await connected(road["TRUSTLENS_API_URL"] + NAMESPACE, road["TRUSTLENS_API_KEY"], work)
    assert [it["status"] for it in answer["results"]] == ["accepted"]


async def test_a_rule_s_whole_life_at_the_terminal(road: Mapping[str, str]) -> None:
    why = ("why", "expensive", JANE)
    assert "Expensive  (off, version 1)" in await rules(road, "add", "-", stdin=json.dumps(RULE))
    assert (await rules(road, *why)).startswith("There is no such customer")

    await ordered(road, 1, "249.00")
    assert "the rule was off then" in await told(road, why, "order_placed")
    assert "off: would have fired" in await rules(road, "test", "expensive", JANE)
    assert "1 time" in await rules(road, "backtest", "expensive", "--days", "1")

    assert "Expensive is live (version 2)." in await rules(road, "on", "expensive")
    await ordered(road, 2, "19.90")
    assert (await told(road, why, "actual 19.90")).splitlines()[0].endswith(": order.total > 200: actual 19.90.")
    await ordered(road, 3, "300.00")
    fired = await told(road, why, "did   tag_customer: done")
    assert fired.startswith("It fired for the last order_placed, at ")
    assert "saw   order.total 300.00" in fired
    outcomes = [line.split()[2] for line in (await rules(road, "log", "expensive")).splitlines() if line[0] != " "]
    assert outcomes == ["fired", "skipped"]
