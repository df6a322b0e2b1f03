"""How many rules are evaluated a second: by the pure functions alone, and from RabbitMQ to the commit."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from uuid import UUID

from bench import rules_engine, stack
from bench.progress import counted
from bench.report import Bound, Figure, Result
from bench.rules_engine import Moment
from bench.stack import Site, Track
from rule_engine.evaluate import Candidate, evaluate
from rule_engine.rules import Rule
from shared.broker import Outgoing
from shared.events import Event
from shared.fields import fields_of

QUEUE = "rule-engine.events"
RULES = 50
"""Of each store, all on the trigger that is played."""
PURE_EVENTS = 4_000
TABLES = ("evaluations", "firings", "cooldowns", "hours")
EVALUATIONS_A_SECOND = Bound("at least", 500_000)
EVENTS_A_SECOND = Bound("at least", 700)
NONE = Bound("at most", 0)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a run left in the tables."""

    evaluations: int
    firings: int
    bytes: dict[str, int]
    """Of tables with their indexes and TOAST, by table."""


@dataclass(frozen=True, slots=True)
class Run:
    """One rule engine's way through a full queue, between two moments: what a process does once is before the first."""

    began: Moment
    ended: Moment
    kept: Kept
    peak_memory: int

    @property
    def events(self) -> float:
        return self.ended.done - self.began.done

    @property
    def rate(self) -> float:
        return self.events / (self.ended.at - self.began.at)

    @property
    def processors(self) -> dict[str, float]:
        """Microseconds of processor for an event, by who used them."""
        began, ended = self.began.processors, self.ended.processors
        return {name: 1e6 * (ended[name] - seconds) / self.events for name, seconds in began.items()}

    def split(self) -> dict[str, float]:
        """Microseconds of an event, from its batch's taking to the ack; publishing happens beside that."""
        told = self.ended.told.since(self.began.told)
        parse = told.value("trustlens_parse_seconds_total", queue=QUEUE)
        process = told.value("trustlens_rules_process_seconds_total")
        pure = told.value("trustlens_rules_pure_seconds_total")
        batch = told.value("trustlens_batch_seconds_sum", queue=QUEUE)
        publish = told.value("trustlens_outbox_publish_seconds_total", service="rule_engine")
        seconds = {
            "parse": parse,
            "decide": pure,
            "SQL": process - pure,
            "ack": batch - parse - process,
            "publish (beside)": publish,
        }
        return {name: 1e6 * value / self.events for name, value in seconds.items()}


async def measure(site: Site, *, count: int, rounds: int) -> Result:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    stores = [shop.id for shop in site.shops]
    runs: list[Run] = []
    pure: list[float] = []
    bare: list[float] = []
    for number in range(1, rounds + 1):
        events = rules_engine.events(stores, count, now=now)
        async with stack.on_scorer_core(site):
            some = events[:PURE_EVENTS]
            pure.append(pure_rate(some, rules_engine.rules_that_hold(stores[0], RULES)))
            bare.append(bare_micros(some, rules_engine.rules(stores[0], RULES)))
        async with stack.track(site) as track:
            runs.append(await _through(track, stores, rules_engine.outgoing(events), f"rules {number}/{rounds}", now))
    return _result(runs, pure, bare, count)


def pure_rate(events: Sequence[Event], rules: Sequence[Rule]) -> float:
    """Evaluations a second of processor: five conditions each, all true, with the values that were seen."""
    began = time.process_time()
    for event in events:
        fields = fields_of(event)
        for rule in rules:
            judged = evaluate(rule, event, fields)
            if not (isinstance(judged, Candidate) and judged.values):
                raise ValueError("these conditions hold")
    return len(events) * len(rules) / (time.process_time() - began)


def bare_micros(events: Sequence[Event], rules: Sequence[Rule]) -> float:
    """Microseconds of processor for an event's evaluations in memory: what no engine could go below."""
    began = time.process_time()
    for event in events:
        fields = fields_of(event)
        for rule in rules:
            evaluate(rule, event, fields)
    return 1e6 * (time.process_time() - began) / len(events)


async def _through(track: Track, stores: Sequence[UUID], messages: Sequence[Outgoing], text: str, now: datetime) -> Run:
    """Fill the queue, start a rule engine, wait until all is committed."""
    await rules_engine.save(track, [(s, rule) for s in stores for rule in rules_engine.rules(s, RULES)], now)
    with counted(f"{text}: filling the queue", len(messages)) as show:
        await stack.fill(track, messages, show)
    with counted(text, len(messages)) as show:
        async with rules_engine.engine(track) as engine:
            began = await engine.committed(1)
            ended = await engine.committed(len(messages), show)
            peak = engine.peak_memory()
    return Run(began, ended, await _kept(track), peak)


async def _kept(track: Track) -> Kept:
    async with stack.connected(track) as pool:
        sizes = await pool.fetch(
            "SELECT coalesce(p.relname, c.relname) AS name, sum(pg_total_relation_size(c.oid))::bigint AS size"
            " FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent"
            " WHERE c.relnamespace = 'rule_engine'::regnamespace AND c.relkind = 'r'"
            "  AND coalesce(p.relname, c.relname) = ANY($1::text[]) GROUP BY 1",
            TABLES,
        )
        evaluations = await pool.fetchval("SELECT coalesce(sum(cardinality(rule_ids)), 0) FROM rule_engine.evaluations")
        firings = await pool.fetchval("SELECT count(*) FROM rule_engine.firings")
    return Kept(int(evaluations) + firings, firings, {row["name"]: row["size"] for row in sizes})


def _result(runs: Sequence[Run], pure: Sequence[float], bare: Sequence[float], count: int) -> Result:
    typical = sorted(runs, key=lambda run: run.rate)[len(runs) // 2]
    split = [run.split() for run in runs]
    rate, alone = median(run.rate for run in runs), median(bare)
    lost = sum(count * RULES - run.kept.evaluations for run in runs)
    return Result(
        "rules",
        [
            Figure("pure evaluations", median(pure), "a second", EVALUATIONS_A_SECOND),
            Figure(f"events, {RULES} rules each", rate, "events/s", EVENTS_A_SECOND),
            Figure("evaluations", rate * RULES, "a second"),
            Figure("whole", 1e6 / rate, "µs/event"),
            *(Figure(name, median(one[name] for one in split), "µs/event") for name in split[0]),
            *(
                Figure(f"processor of {name}", median(run.processors[name] for run in runs), "µs/event")
                for name in typical.processors
            ),
            Figure("bare functions in memory", alone, "µs/event"),
            Figure("ratio to the bare functions", 1e6 / rate / alone, "times"),
            Figure("fired", typical.kept.firings / count, "firings/event"),
            Figure("evaluations not kept", lost, "evaluations", NONE),
            Figure("kept in all", sum(typical.kept.bytes.values()) / count, "bytes/event"),
            *(
                Figure(f"kept in {name}", size / count, "bytes/event")
                for name, size in sorted(typical.kept.bytes.items())
            ),
            Figure("peak memory", typical.peak_memory / 2**20, "MiB"),
        ],
        series={"events/s": [run.rate for run in runs], "pure evaluations/s": list(pure), "bare µs/event": list(bare)},
    )
