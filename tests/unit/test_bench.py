"""The bench's own arithmetic: what it reports must be what was measured."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import capacity, growth, hub, memory, people
from bench.commits import Commits
from bench.explain import whole_reads
from bench.lookup import content_length
from bench.metrics import Reading
from bench.population import Population, hmac_keys
from bench.report import BEGIN, DOCUMENTS, END, Bound, Figure, Result, as_json, markdown, replaced, write, written
from bench.stack import Shop, alone
from local_stack.errors import StackError
from local_stack.folder import Folder

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SHOP = Shop(UUID(int=1), b"k" * 32)

batches = st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 500)), min_size=1, max_size=50)


def test_a_second_run_beside_one_is_refused_and_after_its_end_is_not(tmp_path: Path):
    with alone(Folder(tmp_path)), pytest.raises(StackError, match="Another bench"), alone(Folder(tmp_path)):
        pass
    with alone(Folder(tmp_path)):
        pass


def test_what_a_fact_takes_is_counted_from_the_end_of_the_first_batch():
    commits = Commits.of([(10.0, 200), (10.1, 100), (10.3, 100)])
    assert round(commits.micros()) == 1500  # 0.3 s for 200 facts


def test_a_part_of_the_facts_is_timed_between_the_commits_that_complete_it():
    commits = Commits.of([(1.0, 100), (2.0, 100), (4.0, 100), (8.0, 100)])
    assert round(commits.micros(0, 200)) == 10_000
    assert round(commits.micros(200)) == 30_000


@given(batches)
def test_the_steps_of_a_run_add_up_to_at_most_the_run(some: list[tuple[float, int]]):
    commits = Commits.of(some)
    steps = commits.steps(100)
    assert len(steps) == sum(count for _, count in some) // 100
    assert all(step >= 0 for step in steps)
    assert sum(steps) <= commits.at[-1] - commits.at[0] + 1e-6


@given(batches)
def test_batches_may_be_told_in_any_order(some: list[tuple[float, int]]):
    assert Commits.of(some) == Commits.of(reversed(some))


def test_the_growth_of_a_hub_leaves_out_the_first_quarter():
    assert hub.growth([9.0, 9.0, 1.0, 1.0, 5.0, 5.0, 2.0, 2.0]) == 2.0


def test_a_bound_is_kept_at_its_limit_and_missed_beyond_it():
    assert not Figure("ratio", 1.3, "times", Bound("at most", 1.3)).missed
    assert Figure("ratio", 1.31, "times", Bound("at most", 1.3)).missed
    assert Figure("facts", 999.9, "facts/s", Bound("at least", 1000)).missed
    assert not Figure("facts", 0, "facts/s").missed


def test_numbers_are_written_no_more_exactly_than_they_were_measured():
    assert [written(value) for value in (1234.56, 3.0, 1.2345, 0.01234)] == ["1,235", "3", "1.23", "0.0123"]


def test_the_json_says_which_bound_was_missed():
    result = Result("growth", [Figure("ratio", 2.0, "times", Bound("at most", 1.3))], ["why"], {"ratio": [2.0]})
    told = json.loads(as_json([result], where={"cores": "2"}, began=NOW, sizes={"facts": 6000}))
    assert told["machine"] == {"cores": "2"}
    assert told["sizes"] == {"facts": 6000}
    assert told["results"] == [
        {
            "scenario": "growth",
            "seconds": 0,
            "figures": [
                {
                    "name": "ratio",
                    "value": 2.0,
                    "unit": "times",
                    "bound": {"kind": "at most", "limit": 1.3},
                    "missed": True,
                }
            ],
            "notes": ["why"],
            "series": {"ratio": [2.0]},
        }
    ]


def told_by(*results: Result, began: datetime = NOW) -> dict[str, object]:
    where = dict.fromkeys(("cores", "processor", "memory", "system", "python", "postgres", "rabbitmq"), "?")
    return json.loads(as_json(results, where=where, began=began, sizes={}))  # type: ignore[no-any-return]


def test_a_document_shows_each_scenario_as_it_was_measured_last():
    first = told_by(
        Result("rules", [Figure("events", 1000, "events/s", Bound("at least", 700))]),
        Result("hub", [Figure("a", 1, "s")]),
    )
    again = told_by(Result("rules", [Figure("events", 600, "events/s", Bound("at least", 700))]), began=NOW)
    shown = markdown([first, again])
    assert "| `rules` | events | 600 events/s | ≥ 700, **missed** |" in shown
    assert "| `hub` | a | 1 s |  |" in shown
    assert "1,000" not in shown


def test_only_the_tables_of_a_document_are_replaced():
    made = replaced(f"Before.\n{BEGIN}old\n{END}After.\n", "new")
    assert made == f"Before.\n{BEGIN}\nnew\n{END}After.\n"
    assert replaced(made, "new") == made


def test_a_document_without_a_place_for_tables_is_left_alone():
    with pytest.raises(ValueError, match="missing"):
        replaced("Before.\nAfter.\n", "new")


def end_to_end() -> Result:
    costs = [Figure(f"processor of {name}", 600, "µs/order") for name in (*capacity.SERVICES, "Postgres", "RabbitMQ")]
    written_by = [name.replace("-", "_") for name in capacity.SERVICES]
    rows = [Figure(f"{what} {name}", 1000, "an order") for name in written_by for what in ("rows of", "kept by")]
    sent = [Figure(f"messages of {name}", 1, "an order") for name in capacity.SERVICES]
    return Result("end_to_end", [*costs, *rows, *sent, Figure("write-ahead log", 2000, "bytes/order")])


def test_the_documents_have_a_place_for_what_the_bench_makes_and_keep_the_rest(tmp_path: Path):
    for name in ("performance.md", "scaling.md"):
        (tmp_path / name).write_text((DOCUMENTS / name).read_text(encoding="utf-8"), encoding="utf-8")
    write([told_by(end_to_end())], tmp_path)
    for name in ("performance.md", "scaling.md"):
        before, after = ((folder / name).read_text(encoding="utf-8") for folder in (DOCUMENTS, tmp_path))
        assert before.partition(BEGIN)[0] == after.partition(BEGIN)[0]
        assert before.partition(END)[2] == after.partition(END)[2]
    assert "| processes of scorer | 1 | 1 | 10 |" in (tmp_path / "scaling.md").read_text(encoding="utf-8")
    assert "| RabbitMQ | 600 | | | 5.0 carried |" in (tmp_path / "scaling.md").read_text(encoding="utf-8")


@given(st.floats(1, 1e5), st.floats(1, 1e4))
def test_so_many_processes_are_planned_that_none_is_too_busy_and_no_more(rate: float, micros: float):
    planned, used = capacity.cores(rate, micros), rate * micros / 1e6
    assert used <= planned * capacity.BUSY * (1 + 1e-9)
    assert planned == 1 or used > (planned - 1) * capacity.BUSY * (1 - 1e-9)


def test_memory_that_grows_after_the_warm_up_is_not_flat_and_before_it_may():
    assert memory.spread([*range(0, 1000, 10), *[1000.0] * 300]) == 0
    assert memory.spread([1000.0 + second for second in range(400)]) > 5


def test_memory_that_one_batch_needs_is_no_growth():
    assert memory.spread([1000.0] * 55 + [1500.0] + [1000.0] * 44) == 0


def test_metrics_are_read_by_name_and_labels_and_what_is_missing_is_nothing_yet():
    reading = Reading.parse(
        '# TYPE facts_total counter\nfacts_total{lane="live"} 7.0\nfacts_total{lane="history"} 2.0\n'
    )
    assert reading.value("facts_total", lane="live") == 7
    assert reading.value("facts_total", lane="sideways") == 0


@given(st.binary(min_size=1, max_size=100), st.binary(max_size=100))
def test_the_keys_that_postgres_gets_make_the_same_hmac(key: bytes, message: bytes):
    inner, outer = hmac_keys(key)
    made = hashlib.sha256(outer + hashlib.sha256(inner + message).digest()).digest()
    assert made == hmac.digest(key, message, "sha256")


@given(st.integers(10, 300), st.integers(1, 200))
def test_growth_takes_different_people_all_over_the_table(tens: int, times: int):
    count, customers = 10 * tens, 10 * tens * times
    chosen = [growth.person(nth, customers, count) for nth in range(count)]
    assert len(set(chosen)) == count
    assert min(chosen) <= 10
    assert customers - times - 10 <= max(chosen) <= customers


def test_growth_has_the_same_kinds_of_facts_of_the_same_kinds_of_people_in_every_table():
    def kinds(customers: int) -> list[tuple[int, str, int]]:
        by_number = {people.email(number): number for number in range(1, customers + 1)}
        facts = growth.facts(SHOP, Population("", customers, NOW), 400, now=NOW)
        return [(by_number[f.data.email or ""] % 10, f.data.status, len(f.data.refunds)) for f in facts]

    assert kinds(4000) == kinds(40_000)


def test_the_second_wave_brings_other_orders_of_the_same_people():
    first, second = (growth.facts(SHOP, Population("", 4000, NOW), 400, now=NOW, wave=wave) for wave in (0, 1))
    assert {fact.data.email for fact in first} == {fact.data.email for fact in second}
    assert not {fact.data.id for fact in first} & {fact.data.id for fact in second}


def test_every_tenth_person_lives_with_the_one_before():
    nine, ten, eleven = (set(people.fingerprints(SHOP, number)) for number in (9, 10, 11))
    assert len(nine & ten) == 3  # shipping and billing address, and the IP address that twenty have
    assert len(ten & eleven) == 1


def test_a_hub_is_one_address_and_nothing_else_in_common():
    facts = people.orders_of_one_house(SHOP, 50, at=NOW - timedelta(days=1))
    assert len({fact.data.fingerprints for fact in facts}) == 1
    assert len({fact.data.email for fact in facts}) == 50


def test_a_plan_that_reads_a_whole_table_or_index_is_found_however_deep():
    plan = {
        "Node Type": "Nested Loop",
        "Plans": [
            {"Node Type": "Seq Scan", "Relation Name": "orders"},
            {"Node Type": "Seq Scan", "Relation Name": "scoring"},
            {"Node Type": "Hash", "Plans": [{"Node Type": "Index Only Scan", "Relation Name": "customers"}]},
            {"Node Type": "Index Scan", "Relation Name": "refunds", "Index Cond": "(store_id = k.store_id)"},
        ],
    }
    assert list(whole_reads(plan)) == ["Seq Scan on orders", "Index Only Scan on customers"]


def test_the_length_of_an_answer_is_read_whatever_capitals_its_head_has():
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%s: 1742\r\nDate: Fri, 05 Jun 2026 14:23:00 GMT"
    assert [content_length(head % name) for name in (b"Content-Length", b"content-length")] == [1742, 1742]
