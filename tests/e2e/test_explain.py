"""What each module finds, and that every score is explained by a sum that adds up."""

import asyncio
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli import books
from cli.answers import Customer, Scored
from cli.api import NAMESPACE, Api, ApiError, connected
from cli.explain import fetch
from cli.explanation import kept, total
from cli.jobs import follow
from cli.personas_run import Judged, complaint, perform
from support.servers import without_trustlens

TRUSTLENS = Path(sys.executable).with_name("trustlens")
PATIENCE = 60


async def trustlens(road: Mapping[str, str], *words: str) -> tuple[int | None, str]:
    """The exit code of the command, and all that it printed."""
    process = await asyncio.create_subprocess_exec(
        TRUSTLENS,
        *words,
        env=without_trustlens() | dict(road) | {"COLUMNS": "80", "PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return process.returncode, printed.decode()


async def with_api(road: Mapping[str, str], work: Any) -> Any:
    return await connected(road["TRUSTLENS_API_URL"] + NAMESPACE, road["TRUSTLENS_API_KEY"], work)


async def played(road: Mapping[str, str], *, history: bool = False) -> list[Judged]:
    async def work(api: Api) -> list[Judged]:
        return await perform(api, now=datetime.now(UTC), history=history, patience=PATIENCE)

    cast: list[Judged] = await with_api(road, work)
    return cast


async def explained(road: Mapping[str, str], email: str) -> tuple[Customer, list[Scored]]:
    customer, history = await with_api(road, lambda api: fetch(api, email))
    return Customer.model_validate(customer), [Scored.model_validate(entry) for entry in history]


def points_in_history(entry: Scored) -> dict[str, int]:
    return {module: points for module, points in entry.points.items() if points and module != "base"}


@pytest.mark.parametrize("history", [False, True])
async def test_every_persona_is_judged_for_what_it_does_and_its_score_adds_up(
    history: bool, road: Mapping[str, str]
) -> None:
    cast = await played(road, history=history)
    assert [text for text in map(complaint, cast) if text] == []
    for judged in cast:
        customer, scores = await explained(road, judged.persona.email)
        assert customer.trust_score == judged.persona.score == kept(total(customer.signals)), judged.persona.name
        assert all(signal.evidence for signal in customer.signals if signal.module in {"returns", "chargebacks"})
        assert scores[0].trust_score == customer.trust_score
        if 0 < customer.trust_score < 100:  # at a bound, more points may come without a change, and without a row
            assert points_in_history(scores[0]) == judged.points
    balance = await books.settled(road["TRUSTLENS_DATABASE_URL"], road["TRUSTLENS_AMQP_URL"], within=60)
    assert balance.balanced, balance.lines


async def test_the_commands_print_what_people_can_read(road: Mapping[str, str]) -> None:
    code, printed = await trustlens(road, "personas")
    assert code == 0, printed
    lines = [line.strip() for line in printed.splitlines() if "trustlens explain" in line]
    assert len(lines) == 15
    returner = next(line for line in lines if "returner" in line)

    code, printed = await trustlens(road, *returner.split()[1:])
    assert code == 0, printed
    assert "= -5, kept at 0" in printed
    assert "gave back the whole order" in printed
    assert max(map(len, printed.splitlines())) <= 80

    code, printed = await trustlens(road, "explain", "nobody@personas.example")
    assert (code, printed) == (1, "This store has no customer nobody@personas.example.\n")


async def test_settings_change_every_score_and_null_brings_it_back(road: Mapping[str, str]) -> None:
    cast = {judged.persona.name: judged.persona for judged in await played(road)}
    returner = cast["one bad category"]

    code, printed = await trustlens(road, "scoring", "set", "modules.categories.weight=2", "min_orders=4")
    assert (code, "done" in printed) == (0, True), printed
    customer, scores = await explained(road, returner.email)
    assert customer.trust_score == 50 + 10 - 30
    assert scores[0].cause == "settings"
    code, printed = await trustlens(road, "scoring", "show")
    assert "min_orders" in printed
    assert ["modules.categories.weight", "2.0"] in [line.split() for line in printed.splitlines()]

    code, printed = await trustlens(road, "scoring", "set", "modules.categories.weight=null", "min_orders=null")
    assert code == 0, printed
    customer, _ = await explained(road, returner.email)
    assert customer.trust_score == returner.score

    code, printed = await trustlens(road, "scoring", "set", "min_orders=none")
    assert code == 1
    assert "min_orders" in printed


async def test_computing_everything_anew_changes_nothing(road: Mapping[str, str]) -> None:
    cast = await played(road)
    code, printed = await trustlens(road, "recompute")
    assert code == 0, printed
    code, printed = await trustlens(road, "sweep")
    assert code == 0, printed
    for judged in cast:
        customer, scores = await explained(road, judged.persona.email)
        assert customer.trust_score == judged.persona.score
        assert all(entry.cause != "settings" for entry in scores)


async def test_a_job_can_be_looked_at_by_its_id(road: Mapping[str, str]) -> None:
    async def work(api: Api) -> str:
        job_id = str((await api.post("/store/recompute"))["job_id"])
        await follow(api, job_id, lambda _: None)
        return job_id

    job_id = await with_api(road, work)
    code, printed = await trustlens(road, "jobs", "show", job_id)
    assert code == 0, printed
    assert ["state", "done"] in [line.split() for line in printed.splitlines()]


async def test_a_wrong_key_is_said_in_one_sentence(road: Mapping[str, str]) -> None:
    code, printed = await trustlens({**road, "TRUSTLENS_API_KEY": "wrong"}, "explain", "ann@shop.example")
    assert (code, printed) == (1, "The API does not know this key: check TRUSTLENS_API_KEY.\n")
    with pytest.raises(ApiError):
        await with_api({**road, "TRUSTLENS_API_KEY": "wrong"}, lambda api: api.get("/store"))
