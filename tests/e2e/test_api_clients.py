"""What integrators write, as they would run it: the nightly sync, a sidebar, a WordPress client, the command."""

import asyncio
import csv
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from local_stack.folder import CHECKOUT
from support.languages import NODE, node_packages, present
from support.servers import without_trustlens

INTEGRATIONS = CHECKOUT / "docs" / "integrations"
WPAPI = Path(__file__).parents[1] / "support" / "wpapi"
TRUSTLENS = Path(sys.executable).with_name("trustlens")
RISKY = 130
"""Customers with one order and an open dispute about it, who stand at 30: two pages of a hundred."""
HARMLESS = 5


@dataclass(frozen=True, slots=True)
class Shop:
    road: Mapping[str, str]
    session: ClientSession

    @property
    def base(self) -> str:
        return f"{self.road['TRUSTLENS_API_URL']}/wp-json/trustlens/v1"

    async def call(self, method: str, path: str, body: object = None) -> Any:
        headers = {"X-TrustLens-API-Key": self.road["TRUSTLENS_API_KEY"]}
        async with self.session.request(method, self.base + path, json=body, headers=headers) as answer:
            text = await answer.text()
            assert answer.status < 300, text
            return json.loads(text or "null")

    async def key(self, *scopes: str) -> str:
        return str((await self.call("POST", "/keys", {"name": "of a client", "scopes": scopes}))["key"])

    async def is_scored(self) -> bool:
        counts = await self.call("GET", "/stats/segments")
        return (counts["risk"], counts["normal"]) == (RISKY, HARMLESS)

    async def customer(self, email: str) -> Any:
        return await self.call("GET", f"/customers/lookup?email={email}")


def email(number: int) -> str:
    return f"c{number}@example.com"


def events(number: int, now: datetime) -> list[dict[str, Any]]:
    at = (now - timedelta(days=30, minutes=number)).strftime("%Y-%m-%dT%H:%M:%S")
    order = {
        "id": number,
        "number": str(number),
        "status": "completed",
        "currency": "EUR",
        "total": "60.00",
        "date_created_gmt": at,
        "date_modified_gmt": at,
        "billing": {"email": email(number)},
    }
    dispute = {"id": f"dp_{number}", "order_id": number, "amount": "60.00", "currency": "EUR"}
    disputed = {**dispute, "reason": "fraudulent", "status": "open"}
    given = [("order", order), *([("dispute", disputed)] if number <= RISKY else [])]
    return [{"id": f"{kind}-{number}", "type": kind, "occurred_at": f"{at}Z", "data": data} for kind, data in given]


@pytest.fixture
async def shop(road: Mapping[str, str]) -> AsyncIterator[Shop]:
    """With all its customers scored."""
    now = datetime.now(UTC)
    async with ClientSession() as session:
        shop = Shop(road, session)
        told = [event for number in range(1, RISKY + HARMLESS + 1) for event in events(number, now)]
        answer = await shop.call("POST", "/ingest/events", {"events": told})
        assert {result["status"] for result in answer["results"]} == {"accepted"}
        while not await shop.is_scored():  # noqa: ASYNC110  # statistics have no event to wait for
            await asyncio.sleep(0.1)
        yield shop


async def ran(*command: str | Path, env: Mapping[str, str] | None = None) -> tuple[int | None, str]:
    """The exit code, and all that was printed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=without_trustlens() | {"COLUMNS": "200", "PATH": os.environ["PATH"]} | dict(env or {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return process.returncode, printed.decode()


# The nightly sync -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Between:
    """A proxy before the API that answers some requests itself, and remembers which page each asked for."""

    target: str
    session: ClientSession
    instead: list[tuple[int, Mapping[str, str]] | None]
    """For each request in turn; None, and all after the last: the API answers."""
    pages: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.pages.append(request.query["page"])
        own = self.instead.pop(0) if self.instead else None
        if own:
            return web.Response(status=own[0], headers=own[1])
        headers = {"X-TrustLens-API-Key": request.headers["X-TrustLens-API-Key"]}
        async with self.session.get(self.target + request.path_qs, headers=headers) as answer:
            told = {name: value for name, value in answer.headers.items() if name.startswith(("X-WP", "Retry"))}
            return web.Response(status=answer.status, body=await answer.read(), headers=told)


@asynccontextmanager
async def between(shop: Shop, *instead: tuple[int, Mapping[str, str]] | None) -> AsyncIterator[tuple[Between, str]]:
    proxy = Between(shop.road["TRUSTLENS_API_URL"], shop.session, list(instead))
    app = web.Application()
    app.router.add_get("/{path:.*}", proxy.handle)
    async with TestServer(app) as server:
        yield proxy, str(server.make_url("")).rstrip("/")


async def sync(url: str, key: str, out: Path, *segments: str) -> tuple[int | None, str]:
    env = {"TRUSTLENS_API_URL": url, "TRUSTLENS_API_KEY": key}
    return await ran(sys.executable, INTEGRATIONS / "nightly_sync.py", out, *segments, env=env)


def rows(out: Path) -> list[dict[str, str]]:
    with out.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_the_nightly_sync_writes_everybody_at_risk_with_addresses_waits_when_told_and_goes_on_where_it_stopped(
    shop: Shop, tmp_path: Path
) -> None:
    key, out = await shop.key("read", "pii"), tmp_path / "risk.csv"
    soon = {"Retry-After": "0"}
    async with between(shop, (429, soon), None, (503, soon), (403, {})) as (proxy, url):
        stopped, words = await sync(url, key, out)
        assert (stopped, out.exists()) == (1, False)
        assert words.startswith("TrustLens answered 403")
        again, words = await sync(url, key, out)

    assert (again, words) == (0, f"{RISKY} customers in {out}\n")
    assert proxy.pages == ["1", "1", "2", "2", "2"]  # the first page is not read again
    found = rows(out)
    assert sorted(row["email"] for row in found) == sorted(email(number) for number in range(1, RISKY + 1))
    assert {(row["segment"], row["trust_score"], row["is_blocked"]) for row in found} == {("risk", "30", "False")}
    assert names(tmp_path) == ["risk.csv"]
    audited = await shop.call("GET", "/audit?action=GET%20/customers")
    assert [entry["status"] for entry in audited] == [200, 200]


async def test_the_nightly_sync_takes_several_segments_and_needs_the_scope_pii(shop: Shop, tmp_path: Path) -> None:
    url, out = shop.road["TRUSTLENS_API_URL"], tmp_path / "all.csv"

    refused, words = await sync(url, await shop.key("read"), out)
    assert (refused, "lacks the scope pii" in words) == (1, True)

    assert (await sync(url, await shop.key("read", "pii"), out, "normal", "risk"))[0] == 0
    assert len(rows(out)) == RISKY + HARMLESS


# A help desk's sidebar ------------------------------------------------------------------------------------------------

SIDEBAR = """
import { lines, requester } from "%s";
const [url, key, email] = process.argv.slice(1);
const client = { // Zendesk's, with its proxy that puts secure settings in
  get: async (path) => ({ [path]: email }),
  metadata: async () => ({ settings: { url } }),
  request: async ({ url, type, headers, secure }) => {
    const filled = Object.entries(headers).map(([name, value]) => [name, value.replace("{{setting.api_key}}", key)]);
    const answer = await fetch(url, { method: type, headers: secure ? Object.fromEntries(filled) : headers });
    if (!answer.ok) throw { status: answer.status };
    return answer.json();
  },
};
try {
  console.log(JSON.stringify(lines((await requester(client)).customer)));
} catch (error) {
  console.log(JSON.stringify(error));
}
"""


async def test_the_sidebar_shows_an_agent_who_wrote_the_ticket(shop: Shop) -> None:
    script = SIDEBAR % (INTEGRATIONS / "zendesk" / "assets" / "sidebar.mjs").as_uri()
    key = await shop.key("read")

    async def shown(address: str, used: str = key) -> Any:
        command = (present(NODE), "--input-type=module", "-e", script, "--", shop.road["TRUSTLENS_API_URL"])
        code, printed = await ran(*command, used, address)
        assert code == 0, printed
        return json.loads(printed)

    risky = await shown("C1@Example.com")
    assert risky[:2] == [["Trust", "30 (Risk)"], ["Orders", "1, 0 % returned"]]
    assert [label for label, _ in risky[2:]] == ["0", "-20"]  # the first says that one order is too few for all else
    assert await shown("nobody+x@example.com") == [["Trust", "not a customer of this shop"]]
    assert await shown(email(1), "tl_wrong") == {"status": 401}


# A WordPress client ---------------------------------------------------------------------------------------------------


async def test_a_wordpress_client_library_pages_through_customers_finds_and_blocks_one(shop: Shop) -> None:
    packages = node_packages(WPAPI)
    key = await shop.key("admin")

    code, printed = await ran(present(NODE), WPAPI / "customers.mjs", packages, shop.road["TRUSTLENS_API_URL"], key)

    assert code == 0, printed
    told = json.loads(printed)
    assert len(set(told["emailHashes"])) == len(told["emailHashes"]) == RISKY
    assert (told["total"], told["totalPages"]) == (RISKY, 3)
    assert told["one"]["email_hash"] == told["changed"]["email_hash"] == told["emailHashes"][0]
    assert (told["one"]["is_blocked"], told["changed"]["is_blocked"]) == (False, True)
    assert told["refused"] == {"code": "trustlens_customer_not_found", "status": 404}


# The command ----------------------------------------------------------------------------------------------------------


async def test_a_customer_is_looked_at_changed_exported_and_erased_on_the_command_line(
    shop: Shop, tmp_path: Path
) -> None:
    async def said(*words: str | Path, code: int = 0) -> str:
        got, printed = await ran(TRUSTLENS, "customers", *words, env=shop.road)
        assert got == code, printed
        return printed

    jane = email(1)
    assert "30 Risk · 1 order" in await said("show", jane)
    assert "blocked" in await said("block", jane, "--reason", "by hand")
    assert "blocked" in await said("allowlist", jane, code=1)
    assert " · blocked" not in await said("unblock", jane)
    assert "100 VIP" in await said("allowlist", jane)
    assert "30 Risk" in await said("unallowlist", jane)
    assert "tags: a/b" in await said("tag", jane, "a/b")
    assert "tags:" not in await said("untag", jane, "a/b")
    noted = json.loads(await said("note", jane, "Called.", "--json"))
    assert (await shop.call("GET", f"/customers/{noted['email_hash']}/events?type=note_added"))[0]["data"]["text"] == (
        "Called."
    )
    listed = (await said("list", "--segment", "risk", "--limit", "120", "--emails")).splitlines()
    assert len(listed) == 120
    assert all(re.search(r"c\d+@example\.com", line) for line in listed)
    assert "no customer nobody@example.com" in await said("show", "nobody@example.com", code=1)
    await said("export", jane, "--output", tmp_path / "jane.json")
    assert json.loads((tmp_path / "jane.json").read_text())["customer"]["email"] == jane
    assert "cannot be written" in await said("export", jane, "--output", tmp_path / "jane.json", code=1)
    assert await said("erase", jane, "--yes", "--reason", "asked for it") == f"{jane} is erased.\n"
    assert (await shop.call("GET", f"/customers/{noted['email_hash']}?include=email"))["email"] is None


# What the guide's table says ------------------------------------------------------------------------------------------


def curls() -> list[str]:
    """Of the table in docs/api.md, one for each of the seed's lines."""
    text = (CHECKOUT / "docs" / "api.md").read_text(encoding="utf-8")
    table = text.partition("| the seed's line |")[2].partition("\n\n")[0]
    return re.findall(r"`(curl [^`]*)`", table.replace("\\|", "|"))


async def test_every_curl_of_the_seed_s_table_works_as_it_stands(shop: Shop) -> None:
    key, found = await shop.key("admin"), await shop.customer(email(1))
    headers = {"AUTH": f"X-TrustLens-API-Key: {key}", "JSON": "Content-Type: application/json"}
    env = {"API": shop.base, "KEY": key, "HASH": found["email_hash"], **headers}
    assert len(curls()) >= 14
    for curl in curls():
        line = curl.replace("curl ", "curl --silent --show-error --fail-with-body ", 1)
        code, printed = await ran("/bin/sh", "-c", line.replace("jane@example.com", email(1)), env=env)
        assert code == 0, (curl, printed)
