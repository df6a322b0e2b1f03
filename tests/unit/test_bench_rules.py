"""What the bench of the rule engine counts, and what it plays."""

from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

from bench import rules, rules_engine
from bench.metrics import Reading
from bench.rules import Kept, Run
from bench.rules_engine import EVENTS_EACH, Moment
from rule_engine.cooldown import decide
from rule_engine.evaluate import Candidate, evaluate
from shared.fields import fields_of

NOW = datetime(2026, 6, 1, tzinfo=UTC)
STORES = [UUID(int=number) for number in range(8)]


def test_of_fifty_rules_one_holds_for_each_event_and_fires_for_each_customer_once():
    events = rules_engine.events(STORES, 400, now=NOW)
    made = {store_id: rules_engine.rules(store_id, 50) for store_id in STORES}
    candidates = [
        judged
        for event in events
        for rule in made[event.store_id]
        if isinstance(judged := evaluate(rule, event, fields_of(event)), Candidate)
    ]
    assert Counter(it.event.id for it in candidates) == Counter(event.id for event in events)
    assert len(decide(candidates, {}, {}).fire) == 400 / EVENTS_EACH


def test_what_is_measured_without_a_broker_is_evaluated():
    events = rules_engine.events(STORES, 20, now=NOW)
    assert rules.pure_rate(events, rules_engine.rules_that_hold(STORES[0], 50)) > 0
    assert rules.bare_micros(events, rules_engine.rules(STORES[0], 50)) > 0


def moment(done: int, at: float, *, process: float, pure: float, processor: float) -> Moment:
    told = Reading.parse(
        f"# TYPE trustlens_rules_events_total counter\ntrustlens_rules_events_total {done}\n"
        f"# TYPE trustlens_rules_process_seconds_total counter\ntrustlens_rules_process_seconds_total {process}\n"
        f"# TYPE trustlens_rules_pure_seconds_total counter\ntrustlens_rules_pure_seconds_total {pure}\n"
    )
    return Moment(told, {"the rule engine": processor}, at)


def test_rates_are_of_what_happened_between_the_two_moments():
    began = moment(200, 10.0, process=1.0, pure=0.5, processor=2.0)
    ended = moment(1200, 11.0, process=1.8, pure=0.7, processor=2.5)
    run = Run(began, ended, Kept(60_000, 240, {}), 0)
    assert run.rate == 1000
    assert {name: round(value) for name, value in run.processors.items()} == {"the rule engine": 500}
    assert (round(run.split()["decide"]), round(run.split()["SQL"])) == (200, 600)
