"""`trustlens connect` and `trustlens sync` as commands, on a stand-in for the API that answers what a test says."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from typer.testing import CliRunner

from cli.answers import Job, SyncState
from cli.app import app
from cli.connect import delivered_to, reachable
from cli.jobs import waiting
from cli.sync import told
from local_stack.errors import StackError
from support.servers import without_trustlens

STORE, JOB = "0190a000-0000-7000-8000-000000000001", "0190a000-0000-7000-8000-00000000000a"
BOOKS = {"seen": 3, "new": 1, "changed": 1, "unchanged": 1, "skipped": []}
BAD = {"reason": "total must not be negative", "count": 12, "ids": list(range(10))}


@dataclass
class StandIn:
    results: dict[str, Any] = field(default_factory=dict)
    """By kind of job: the job as it ends."""
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    url: str = ""
    watched: asyncio.Event = field(default_factory=asyncio.Event)
    """A job was looked at."""

    async def answer(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read() or b"null")
        path = request.path.removeprefix("/wp-json/trustlens/v1")
        if request.method != "GET":
            self.asked.append((request.method, path, body))
        if path.startswith("/store/"):
            return web.json_response({"job_id": JOB}, status=202)
        if path.startswith("/jobs/"):
            self.watched.set()
            kind = self.asked[-1][1].removeprefix("/store/")
            job = {"id": JOB, "kind": kind, "state": "done", "done": 3, "total": 3} | self.results.get(kind, {})
            return web.json_response(job)
        return web.json_response({"id": STORE, "sync": {"last_webhook_at": "2026-06-05 14:23:00", "gaps": 0}})


@pytest.fixture
async def api() -> AsyncIterator[StandIn]:
    standin, application = StandIn(), web.Application()
    application.router.add_route("*", "/{path:.*}", standin.answer)
    async with TestServer(application) as server:
        standin.url = str(server.make_url("/")).rstrip("/")
        yield standin


async def ran(api: StandIn, *words: str, typed: str = "", **env: str) -> tuple[int, str]:
    """Exit code and what was printed; the environment is the test's own."""
    ours = {"TRUSTLENS_API_URL": api.url, "TRUSTLENS_API_KEY": "a key"} | env
    done = await asyncio.to_thread(CliRunner(env=ours).invoke, app, list(words), input=typed)
    return done.exit_code, done.output


async def test_connect_gives_the_key_to_be_tried_makes_the_webhooks_and_syncs(api):
    webhooks = [
        {"topic": "order.created", "id": 7, "status": "made"},
        {"topic": "order.updated", "id": 8, "status": "enabled"},
    ]
    api.results = {"connect": {"result": {"webhooks": webhooks}}, "sync": {"result": {"orders": BOOKS, "requests": 5}}}
    code, output = await ran(
        api,
        *("connect", "https://shop.example", "--delivery-url", "https://trust.example"),
        typed="ck_typed\ncs_typed\n",
    )
    assert code == 0, output
    assert api.asked == [
        (
            "POST",
            "/store/connect",
            {
                "delivery_url": f"https://trust.example/wp-json/trustlens/v1/ingest/woocommerce/{STORE}",
                "url": "https://shop.example",
                "woocommerce": {"key": "ck_typed", "secret": "cs_typed"},
            },
        ),
        ("POST", "/store/sync", {}),
    ]
    assert "_typed" not in output
    assert "order.updated  8  was off, on again" in output
    assert "orders    3     1    1        1          0" in output
    assert "5 requests to the store" in output


async def test_the_saved_key_stays_where_none_is_typed_and_nothing_is_synced_unless_asked(api):
    words = ("connect", "https://shop.example", "--delivery-url", "https://trust.example", "--no-sync")
    assert (await ran(api, *words, typed="\n"))[0] == 0
    [(_, path, given)] = api.asked
    assert (path, given["url"], "woocommerce" in given) == ("/store/connect", "https://shop.example", False)


async def test_a_script_gives_the_key_in_the_environment(api):
    words = ("connect", "https://shop.example", "--delivery-url", "https://trust.example", "--no-sync")
    means = {"TRUSTLENS_CONSUMER_KEY": "ck_given", "TRUSTLENS_CONSUMER_SECRET": "cs_given"}
    assert (await ran(api, *words, **means))[0] == 0
    assert api.asked[0][2]["woocommerce"] == {"key": "ck_given", "secret": "cs_given"}


async def test_a_connect_that_failed_says_why_and_begins_no_sync(api):
    api.results = {
        "connect": {"state": "failed", "done": 0, "error": "The store knows no such key.", "result": {"webhooks": []}}
    }
    code, output = await ran(
        api, *("connect", "https://shop.example", "--delivery-url", "https://trust.example"), typed="ck\ncs\n"
    )
    assert (code, output.splitlines()[-1]) == (1, "connect failed: The store knows no such key.")
    assert "/store/sync" not in [path for _, path, _ in api.asked]


async def test_a_store_elsewhere_is_not_told_of_an_address_that_is_this_machine_s(api):
    code, _ = await ran(api, "connect", "https://shop.example")
    assert (code, api.asked) == (1, [])


def test_an_address_is_reachable_where_both_or_neither_are_here():
    assert reachable("http://127.0.0.1:8080", "http://localhost:9000") == "http://127.0.0.1:8080"
    assert reachable("https://trust.example", "https://shop.example") == "https://trust.example"
    with pytest.raises(StackError, match="give --delivery-url"):
        reachable("http://[::1]:8080", "https://shop.example")


def test_a_delivery_url_is_the_whole_or_its_beginning():
    whole = f"https://trust.example/wp-json/trustlens/v1/ingest/woocommerce/{STORE}"
    assert delivered_to("https://trust.example/", STORE) == whole
    assert delivered_to(whole, STORE) == whole


async def test_what_was_skipped_is_told_with_its_reasons_and_is_exit_code_1(api):
    result = {"orders": BOOKS | {"seen": 15, "skipped": [BAD]}, "products": BOOKS, "requests": 40, "repeated": 2}
    api.results = {"sync": {"result": result}}
    code, output = await ran(api, "sync", "--after", "2025-01-01", "--before", "2026-01-01")
    assert code == 1
    assert api.asked == [("POST", "/store/sync", {"after": "2025-01-01", "before": "2026-01-01"})]
    assert "skipped 12: total must not be negative (ids 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …)" in output
    assert "40 requests to the store, 2 of them again" in output


async def test_a_sync_that_was_given_up_at_once_says_why_and_shows_no_books(api):
    books = {"orders": {**BOOKS, "seen": 0}, "requests": 0}
    api.results = {"sync": {"state": "failed", "done": 0, "error": "The store cannot be reached.", "result": books}}
    assert await ran(api, "sync") == (1, "sync failed: The store cannot be reached.\n")


def test_a_line_of_progress_says_why_a_job_waits():
    job = {"id": JOB, "kind": "sync", "state": "running", "done": 0, "total": None}
    waits = Job.model_validate({**job, "error": "The store cannot be reached."})
    assert (waiting(waits), waiting(Job.model_validate({**job, "error": None}))) == (
        " (The store cannot be reached.)",
        "",
    )


async def test_a_sync_that_broke_off_shows_what_it_had(api):
    told = "The store answered HTTP 500 five times. What was read is kept: sync again to go on."
    api.results = {"sync": {"state": "failed", "error": told, "result": {"orders": BOOKS}}}
    code, output = await ran(api, "sync")
    assert code == 1
    assert f"sync failed after 3 of 3: {told}" in output
    assert "orders" in output


async def test_ctrl_c_ends_the_watching_and_says_how_to_look_again_and_how_to_end_the_work(api):
    api.results = {"sync": {"state": "running", "total": 9}}
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("trustlens"),
        "sync",
        env=without_trustlens() | {"TRUSTLENS_API_URL": api.url, "TRUSTLENS_API_KEY": "a key"},
        stdout=asyncio.subprocess.PIPE,
    )
    await api.watched.wait()
    process.send_signal(signal.SIGINT)
    printed, _ = await process.communicate()
    assert process.returncode == 130
    told = f"`trustlens jobs show {JOB}` says how far it is, `trustlens jobs cancel {JOB}` ends it."
    assert printed.decode() == f"It goes on without us; {told}\n"


async def test_a_finished_job_is_shown_with_its_books(api):
    api.asked.append(("POST", "/store/sync", None))
    api.results = {"sync": {"result": {"orders": BOOKS, "requests": 1}}}
    _, output = await ran(api, "jobs", "show", JOB)
    assert "orders    3     1    1        1          0" in output
    assert "1 request to the store." in output


async def test_the_status_says_when_the_store_was_last_heard_of(api):
    code, output = await ran(api, "sync", "--status")
    assert (code, api.asked) == (0, [])
    assert output.splitlines() == [
        "last webhook        2026-06-05 14:23:00 UTC",
        "last poll           never",
        "missed by webhooks  none",
        "known up to         never",
    ]


def test_the_status_tells_of_gaps_and_of_a_poll_that_failed():
    at = "2026-06-05 14:23:00"
    state = SyncState(last_poll_at=at, last_poll_error="HTTP 401", gaps=2, last_gap_at=at, watermark=at)
    assert told(state).splitlines()[1:] == [
        f"last poll           {at} UTC, failed: HTTP 401",
        f"missed by webhooks  2 orders, the last at {at} UTC",
        f"known up to         {at} UTC",
    ]


@pytest.mark.parametrize(
    ("name", "text"), [("o.csv", "id,staus\n"), ("o.csv", 'id,status\n1,"\n'), ("o.json", " [\n{}]")]
)
async def test_a_file_that_cannot_be_read_is_exit_code_2_and_nothing_is_sent(api, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    code, _ = await ran(api, "sync", "--file", str(tmp_path / name))
    assert (code, api.asked) == (2, [])


async def test_a_file_goes_with_no_bounds_of_time_and_a_time_zone_exists(api, tmp_path):
    (tmp_path / "o.csv").write_text("id\n")
    assert (await ran(api, "sync", "--file", str(tmp_path / "o.csv"), "--after", "2025-01-01"))[0] == 2
    assert (await ran(api, "sync", "--file", str(tmp_path / "o.csv"), "--timezone", "Europe/Atlantis"))[0] == 2
