"""Old orders from a file over real HTTP, to an API that only records and answers as it is told."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from rich.console import Console

from cli.api import ApiError
from cli.event_posting import BATCH_BYTES, BATCH_EVENTS, Answered, EventPoster
from cli.order_exports import ExportFile, is_csv, sheet
from cli.posting import Result, UnavailableError, patient_wait
from cli.replay import Bookmark
from cli.sync_file import Import, Reason, bookmark, print_books, send, skipped
from support.orders import order


@dataclass
class StandIn:
    """Accepts each id once; `answer` may say otherwise of a whole request, by its number, `refuse` of an event."""

    url: str = ""
    batches: list[list[Any]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    answer: Callable[[int, list[Any]], web.Response | None] = lambda *_: None
    refuse: Callable[[Any], dict[str, str] | None] = lambda _: None

    async def receive(self, request: web.Request) -> web.Response:
        raw = await request.read()
        given = json.loads(raw)
        assert given["history"] is True
        assert request.content_type == "application/json"
        self.batches.append(given["events"])
        self.sizes.append(len(raw))
        refused = self.answer(len(self.batches), given["events"])
        return refused or web.json_response({"results": [self._became(event) for event in given["events"]]})

    def _became(self, event: Any) -> dict[str, str]:
        if wrong := self.refuse(event):
            return {"id": event["id"], "status": "rejected", "code": "rest_invalid_param", **wrong}
        known = event["id"] in self.seen
        self.seen.add(event["id"])
        return {"id": event["id"], "status": "duplicate" if known else "accepted"}


@pytest.fixture
async def api() -> AsyncIterator[StandIn]:
    standin, app = StandIn(), web.Application(client_max_size=100 * BATCH_BYTES)
    app.router.add_post("/v1/ingest/events", standin.receive)
    async with TestServer(app) as server:
        standin.url = str(server.make_url("/v1"))
        yield standin


def written(path: Path, count: int, **changes: Any) -> Path:
    path.write_text("".join(json.dumps(order(id=n, **changes)) + "\n" for n in range(1, count + 1)))
    return path


async def play(
    path: Path, api: StandIn, *, tally: Import | None = None, patience: float = 30, mark: Bookmark | None = None
) -> Import:
    tally = tally or Import()
    file = ExportFile(path, sheet(path) if is_csv(path) else None, skip=tally.before)
    async with ClientSession() as session:
        poster = EventPoster(
            session=session, url=api.url, patience=patience, wait=patient_wait(first=0.001, longest=0.01)
        )
        place = mark or Bookmark(path.with_suffix(".state"), path.name, file.size, api.url)
        await send(file, poster, tally, mark=place, show=lambda *_: None)
    return tally


async def test_orders_are_sent_in_batches_and_the_same_file_again_is_unchanged(api, tmp_path):
    path = written(tmp_path / "o.ndjson", 2 * BATCH_EVENTS + 1)
    assert (await play(path, api)).results == {Result.ACCEPTED: 401}
    assert sorted(map(len, api.batches)) == [1, BATCH_EVENTS, BATCH_EVENTS]
    assert (await play(path, api)).results == {Result.DUPLICATE: 401}


async def test_batches_of_large_orders_are_smaller(api, tmp_path):
    path = written(tmp_path / "o.ndjson", 4, meta_data=[{"key": "x", "value": "y" * (BATCH_BYTES // 2)}])
    assert (await play(path, api)).results == {Result.ACCEPTED: 4}
    assert [len(batch) for batch in api.batches] == [1, 1, 1, 1]
    assert max(api.sizes) < BATCH_BYTES


@pytest.mark.parametrize("status", [429, 503])
async def test_an_api_that_is_away_or_wants_less_is_waited_for(status, api, tmp_path):
    api.answer = lambda number, _: web.Response(status=status, headers={"Retry-After": "0"}) if number % 2 else None
    assert (await play(written(tmp_path / "o.ndjson", 500), api)).results == {Result.ACCEPTED: 500}


async def test_patience_ends_and_the_next_run_goes_on_where_this_one_stopped(api, tmp_path):
    path = written(tmp_path / "o.ndjson", 5 * BATCH_EVENTS)
    mark = Bookmark(tmp_path / "state", path.name, path.stat().st_size, api.url)
    api.answer = lambda number, _: web.Response(status=503) if number > 2 else None
    with pytest.raises(UnavailableError):
        await play(path, api, patience=0.05, mark=mark)
    done = mark.load()
    assert done in {0, BATCH_EVENTS, 2 * BATCH_EVENTS}

    api.answer = lambda *_: None
    tally = await play(path, api, tally=Import(before=done), mark=mark)
    assert (tally.seen, len(api.seen), mark.load()) == (1000 - done, 1000, 1000)


async def test_a_key_that_is_refused_ends_it_at_once_with_a_sentence(api, tmp_path):
    api.answer = lambda *_: web.json_response({"code": "rest_forbidden", "message": "No."}, status=401)
    with pytest.raises(ApiError, match="does not know this key"):
        await play(written(tmp_path / "o.ndjson", 1000), api)
    assert len(api.batches) <= 4


async def test_something_else_at_the_url_ends_it_too(api, tmp_path):
    api.answer = lambda *_: web.Response(text="<html>")
    with pytest.raises(ApiError):
        await play(written(tmp_path / "o.ndjson", 1), api)


async def test_an_order_that_spoils_a_whole_body_is_found_and_the_others_are_taken(api, tmp_path):
    def refused(_: int, events: list[Any]) -> web.Response | None:
        spoiled = any(event["data"]["id"] == 137 for event in events)
        params = {"data": {"status": 400, "params": {"body": "is not for us"}}}
        return web.json_response({"code": "x", "message": "Bad.", **params}, status=400) if spoiled else None

    api.answer = refused
    tally = await play(written(tmp_path / "o.ndjson", 300), api)
    assert tally.results == {Result.ACCEPTED: 299, Result.REJECTED: 1}
    assert tally.reasons == {"The API refused it: body is not for us.": Reason(1, [137])}


async def test_what_is_skipped_is_told_by_reason_with_its_lines(api, tmp_path):
    rows = "".join(f"{n};completed;EUR;{'x' if n == 3 else '1'};2026-05-28;jane@example.com\n" for n in range(1, 21))
    path = tmp_path / "o.csv"
    path.write_text("id;status;currency;total;created;email\n" + rows)
    wrong = {"field": "data.billing.email", "message": "is no address"}
    api.refuse = lambda event: wrong if event["data"]["id"] > 8 else None
    tally = await play(path, api)
    assert tally.results == {Result.ACCEPTED: 7, Result.REJECTED: 13}
    assert skipped(tally.reasons) == [
        "skipped 12: email is no address (lines 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, …)",
        "skipped 1: total must be a number like 249.00, without currency and thousands separators (line 4)",
    ]


def test_the_same_fault_at_different_places_of_a_list_is_one_reason():
    tally = Import()
    for number, position in enumerate((0, 3, 12), 1):
        list(tally.watch([]))
        tally._unanswered.add(number)
        tally.note(Answered(number, Result.REJECTED, "must be a number", f"line_items.{position}.quantity"))
    assert tally.reasons == {"line_items.quantity must be a number": Reason(3, [1, 2, 3])}


def test_the_books_of_a_file_add_up(capsys):
    tally = Import(before=100)
    for number, result in enumerate([Result.ACCEPTED] * 5 + [Result.DUPLICATE] * 2 + [Result.REJECTED], 1):
        tally._unanswered.add(number)
        tally.note(Answered(number, result, "is wrong"))
    print_books(tally, Console(highlight=False), None)
    told = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:6])
    assert {name.strip(): count for name, count in told.items()} == {
        "lines of an earlier run": "100",
        "orders seen": "8",
        "new": "5",
        "unchanged": "2",
        "skipped": "1",
    }


def test_a_bookmark_is_of_one_file_one_installation_and_one_store(tmp_path):
    path = written(tmp_path / "o.ndjson", 3)
    mark = bookmark(path, "https://one.example", "store")
    fresh = Bookmark(tmp_path / "x.json", mark.file, mark.size, mark.url)
    fresh.save(2)
    assert fresh.load() == 2
    assert Bookmark(fresh.path, mark.file, mark.size, bookmark(path, "https://two.example", "store").url).load() == 0
    assert Bookmark(fresh.path, mark.file, mark.size, bookmark(path, "https://one.example", "other").url).load() == 0
