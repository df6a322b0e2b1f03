"""Replaying order files over real HTTP, against an ingest that only records and answers."""

import base64
import gzip
import hashlib
import hmac
import json
import lzma
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web

from cli.order_lines import OrderFile, OrderLine
from cli.posting import Posted, Poster, Result, Target, UnavailableError, patient_wait
from cli.replay import Bookmark, Run, bookmark, ingest_url, replay

SECRET = "a-woocommerce-secret"


@dataclass
class FakeIngest:
    """Answers like the api: 202 for a new delivery, 200 for a known one; except as the fields say."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    seen: set[tuple[str, bytes]] = field(default_factory=set)
    drop_next: bool = False
    unavailable: Callable[[int], bool] = lambda _: False
    refused_ids: frozenset[int] = frozenset()
    retry_after: str = "0"

    @property
    def order_ids(self) -> list[int]:
        return [json.loads(body)["id"] for body in self.bodies]

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        if self.drop_next:
            self.drop_next = False
            assert request.transport
            request.transport.abort()
        if self.unavailable(len(self.bodies)):
            return web.Response(status=503, headers={"Retry-After": self.retry_after})
        if json.loads(body)["id"] in self.refused_ids:
            return web.Response(status=400, text="total: negative")
        key = (request.headers["X-WC-Webhook-Delivery-ID"], body)
        status = 200 if key in self.seen else 202
        self.seen.add(key)
        return web.Response(status=status)


@pytest.fixture
async def ingest() -> AsyncIterator[FakeIngest]:
    fake = FakeIngest()
    app = web.Application()
    app.router.add_post("/wp-json/trustlens/v1/ingest/woocommerce/{store}", fake.receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.url = ingest_url(f"http://127.0.0.1:{runner.addresses[0][1]}", "store-1")
    yield fake
    await runner.cleanup()


def order(number: int, **fields: object) -> dict[str, object]:
    return {"id": number, "status": "completed", "total": "10.00", "billing": {"email": "zoë@mail.example"}, **fields}


def lines(numbers, topic="order.created") -> bytes:
    return b"".join(json.dumps({"topic": topic, "order": order(number)}).encode() + b"\n" for number in numbers)


@pytest.fixture
def orders(tmp_path):
    path = tmp_path / "orders.ndjson"
    path.write_bytes(lines(range(1, 41)))
    return path


async def play(
    path, ingest, mark: Bookmark | None = None, *, run: Run | None = None, concurrency=8, patience=30.0
) -> Run:
    run = run or Run()
    mark = mark or bookmark(path, ingest.url, state=path.with_suffix(".state"))
    async with aiohttp.ClientSession() as session:
        poster = Poster(
            session=session,
            target=Target(ingest.url, SECRET),
            patience=patience,
            wait=patient_wait(first=0.001, longest=0.01),
        )
        file = OrderFile(path, skip=run.skipped)
        await replay(file, poster, run, mark=mark, concurrency=concurrency, show=lambda _: None)
    return run


async def test_every_line_is_posted_as_a_correctly_signed_webhook(ingest, orders):
    run = await play(orders, ingest)
    assert run.results == {Result.ACCEPTED: 40}
    assert sorted(ingest.order_ids) == list(range(1, 41))
    for body, headers in zip(ingest.bodies, ingest.headers, strict=True):
        expected = base64.b64encode(hmac.new(SECRET.encode(), body, hashlib.sha256).digest()).decode()
        assert headers["X-WC-Webhook-Signature"] == expected
        assert headers["X-WC-Webhook-Topic"] == "order.created"
        assert (headers["X-WC-Webhook-Resource"], headers["X-WC-Webhook-Event"]) == ("order", "created")
        assert headers["X-WC-Webhook-Source"] == "https://shop.example/"
        assert headers["X-WC-Webhook-ID"] == "1"
    assert len({headers["X-WC-Webhook-Delivery-ID"] for headers in ingest.headers}) == 40


@pytest.mark.parametrize(
    ("name", "pack"), [("o.ndjson", bytes), ("o.ndjson.gz", gzip.compress), ("o.ndjson.xz", lzma.compress)]
)
async def test_plain_gzip_and_xz_files_give_the_same_posts(ingest, tmp_path, name, pack):
    path = tmp_path / name
    path.write_bytes(pack(lines(range(1, 11))))
    await play(path, ingest)
    assert {json.dumps(order(number)) for number in range(1, 11)} == {
        json.dumps(json.loads(body)) for body in ingest.bodies
    }


async def test_a_file_sent_twice_is_only_duplicates_the_second_time(ingest, orders):
    await play(orders, ingest)
    again = await play(orders, ingest)
    assert again.results == {Result.DUPLICATE: 40}


async def test_versions_of_one_order_never_overtake_each_other(ingest, tmp_path):
    path = tmp_path / "orders.ndjson"
    versions = [order(number % 5, version=number) for number in range(200)]
    path.write_text("".join(json.dumps({"topic": "order.updated", "order": version}) + "\n" for version in versions))
    await play(path, ingest)
    posted = [json.loads(body) for body in ingest.bodies]
    for number in range(5):
        of_this_order = [version["version"] for version in posted if version["id"] == number]
        assert of_this_order == sorted(of_this_order)


async def test_a_503_is_waited_out_and_no_line_is_lost(ingest, orders):
    ingest.unavailable = lambda arrival: arrival % 3 == 1
    run = await play(orders, ingest)
    assert run.results == {Result.ACCEPTED: 40}
    assert set(ingest.order_ids) == set(range(1, 41))
    assert len(ingest.bodies) > 40


async def test_retry_after_is_a_floor_for_the_wait(ingest, tmp_path):
    path = tmp_path / "one.ndjson"
    path.write_bytes(lines([1]))
    ingest.unavailable, ingest.retry_after = lambda arrival: arrival == 1, "1"
    run = await play(path, ingest)
    assert run.results == {Result.ACCEPTED: 1}
    assert run.seconds >= 1


async def test_a_retry_after_beyond_our_patience_ends_the_replay_at_once(ingest, tmp_path):
    path = tmp_path / "one.ndjson"
    path.write_bytes(lines([1]))
    ingest.unavailable, ingest.retry_after = lambda _: True, "3600"
    with pytest.raises(UnavailableError, match="HTTP 503"):
        await play(path, ingest, patience=60)
    assert len(ingest.bodies) == 1


async def test_a_line_whose_answer_was_lost_is_sent_again_and_is_a_duplicate(ingest, tmp_path):
    path = tmp_path / "one.ndjson"
    path.write_bytes(lines([1]))
    ingest.drop_next = True
    run = await play(path, ingest)
    assert run.results == {Result.DUPLICATE: 1}
    assert len(ingest.headers) == 2
    assert len({headers["X-WC-Webhook-Delivery-ID"] for headers in ingest.headers}) == 1


async def test_rejected_lines_are_counted_and_the_first_few_told_by_number(ingest, orders):
    ingest.refused_ids = frozenset(range(4, 41, 4))
    run = await play(orders, ingest, concurrency=1)
    assert run.results == {Result.ACCEPTED: 30, Result.REJECTED: 10}
    assert [posted.line.number for posted in run.rejections] == [4, 8, 12, 16, 20]
    assert run.rejections[0].detail == "HTTP 400: total: negative"


async def test_lines_that_are_no_orders_are_rejected_here_and_the_others_still_posted(ingest, tmp_path):
    path = tmp_path / "mixed.ndjson"
    path.write_bytes(lines([1]) + b"not json\n\n" + b'{"topic": "order.created"}\n[]\n' + lines([2]))
    run = await play(path, ingest)
    assert run.results == {Result.ACCEPTED: 2, Result.REJECTED: 3}
    assert [posted.line.number for posted in run.rejections] == [2, 4, 5]
    assert run.lines_done == 6


async def test_a_damaged_archive_is_told_and_what_could_be_read_is_posted(ingest, tmp_path):
    path = tmp_path / "cut.ndjson.gz"
    path.write_bytes(gzip.compress(lines(range(1, 2001)), mtime=0)[:-20])
    run = await play(path, ingest)
    assert run.results[Result.REJECTED] == 1
    assert "damaged archive" in run.rejections[0].detail


async def test_an_interrupted_replay_continues_and_every_order_arrives(ingest, orders):
    ingest.unavailable = lambda arrival: arrival > 15
    mark = bookmark(orders, ingest.url, state=orders.with_suffix(".state"))
    with pytest.raises(UnavailableError):
        await play(orders, ingest, mark, patience=0.05)
    done = mark.load()
    assert 0 < done <= 15

    ingest.unavailable = lambda _: False
    resumed = await play(orders, ingest, mark, run=Run(skipped=done))
    assert resumed.posted == 40 - done
    assert len(ingest.seen) == 40
    assert mark.load() == 40


async def test_a_bookmark_only_counts_lines_before_the_first_unanswered_one():
    run = Run()
    in_flight = list(run.watch(OrderLine(number, "order.created", number, b"{}") for number in range(1, 6)))
    for line in in_flight[:2] + in_flight[3:]:
        run.note(Posted(line, Result.ACCEPTED, 0.0))
    assert run.lines_done == 2
    run.note(Posted(in_flight[2], Result.ACCEPTED, 0.0))
    assert run.lines_done == 5


async def test_a_bookmark_of_another_file_or_store_is_not_used(ingest, orders):
    mark = bookmark(orders, ingest.url, state=orders.with_suffix(".state"))
    mark.save(7)
    assert mark.load() == 7
    assert bookmark(orders, ingest.url + "2", state=mark.path).load() == 0
    orders.write_bytes(lines(range(1, 3)))
    assert bookmark(orders, ingest.url, state=mark.path).load() == 0
