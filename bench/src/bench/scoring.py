"""How many order facts a second become saved scores: one scorer, from RabbitMQ to the commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench import bare, commits, stack
from bench.commits import Commits
from bench.metrics import Reading, cpu_seconds
from bench.progress import counted
from bench.report import Bound, Figure, Result
from bench.stack import ScorerProcess, Site, Track
from bench.webhooks import outgoing
from shared.broker import Outgoing
from shared.events import OrderFact

FACTS_A_SECOND = Bound("at least", 1000)
QUEUE = "scorer.facts"


@dataclass(frozen=True, slots=True)
class Run:
    """One scorer's way through a full queue."""

    commits: Commits
    told: Reading
    """What the scorer counted from its start, before which it had done nothing."""
    done: int
    """Facts in all."""
    processors: dict[str, float]
    """Microseconds of processor for a fact, by who used them; the scorer's start is not in it."""
    peak_memory: int

    @property
    def rate(self) -> float:
        """Facts a second, from the first batch's commit to the last's."""
        return 1e6 / self.micros

    @property
    def micros(self) -> float:
        return self.commits.micros()

    def split(self) -> dict[str, float]:
        """Microseconds of a fact, from its batch's taking to the ack; publishing happens beside that."""
        parse = self.told.value("trustlens_parse_seconds_total", queue=QUEUE)
        process = self.told.value("trustlens_scorer_process_seconds_total", lane="live")
        pure = self.told.value("trustlens_scorer_pure_seconds_total")
        batch = self.told.value("trustlens_batch_seconds_sum", queue=QUEUE)
        publish = self.told.value("trustlens_outbox_publish_seconds_total", service="scorer")
        seconds = {
            "parse": parse,
            "decide": pure,
            "SQL": process - pure,
            "ack": batch - parse - process,
            "publish (beside)": publish,
        }
        return {name: 1e6 * value / self.done for name, value in seconds.items()}


async def through(track: Track, messages: Sequence[Outgoing], text: str) -> Run:
    """Fill the queue, start a scorer, wait until all is committed and told."""
    with counted(f"{text}: filling the queue", len(messages)) as show:
        await stack.fill(track, messages, show)
    with counted(f"{text}: scoring", len(messages)) as show:
        async with stack.scorer(track) as scorer:
            began = await _processors(track.site, scorer)
            await scorer.scored(len(messages), show)
            await scorer.published()
            ended = await _processors(track.site, scorer)
            told, peak = await scorer.read(), scorer.peak_memory()
    return Run(await commits.read(track), told, len(messages), _between(began, ended), peak)


@dataclass(frozen=True, slots=True)
class _Processors:
    """At one moment."""

    seconds: dict[str, float]
    facts: float


async def _processors(site: Site, scorer: ScorerProcess) -> _Processors:
    pids = {
        "the scorer": scorer.pid,
        "Postgres": site.stack.postgres.process.pid(),
        "RabbitMQ": site.stack.rabbitmq.process.pid(),
    }
    reading = await scorer.read()
    return _Processors(
        {name: cpu_seconds(pid) for name, pid in pids.items() if pid},
        reading.value("trustlens_scorer_facts_total", lane="live"),
    )


def _between(began: _Processors, ended: _Processors) -> dict[str, float]:
    facts = max(ended.facts - began.facts, 1)
    return {name: 1e6 * (ended.seconds[name] - seconds) / facts for name, seconds in began.seconds.items()}


async def measure(site: Site, facts: Sequence[OrderFact], *, rounds: int) -> Result:
    messages = outgoing(facts)
    runs: list[Run] = []
    bares: list[bare.Bare] = []
    for number in range(1, rounds + 1):
        async with stack.track(site) as track:
            runs.append(await through(track, messages, f"scoring {number}/{rounds}"))
            written = await bare.written_by(track)
        async with stack.track(site) as track:
            bares.append(await bare.replay(track, messages, written, f"bare {number}/{rounds}"))
    return _result(runs, bares)


def _result(runs: Sequence[Run], bares: Sequence[bare.Bare]) -> Result:
    typical = sorted(runs, key=lambda run: run.rate)[len(runs) // 2]
    split = [run.split() for run in runs]
    ours, theirs = median(run.micros for run in runs), median(one.micros for one in bares)
    events = typical.told.value("trustlens_outbox_published_total", service="scorer")
    return Result(
        "scoring",
        [
            Figure("facts", median(run.rate for run in runs), "facts/s", FACTS_A_SECOND),
            Figure("whole", ours, "µs/fact"),
            *(Figure(name, median(one[name] for one in split), "µs/fact") for name in split[0]),
            *(
                Figure(f"processor of {name}", median(run.processors[name] for run in runs), "µs/fact")
                for name in typical.processors
            ),
            Figure("events published", events, "events"),
            Figure("peak memory", typical.peak_memory / 2**20, "MiB"),
            Figure("bare libraries", theirs, "µs/fact"),
            Figure("ratio to the bare libraries", ours / theirs, "times"),
        ],
        series={"facts/s": [run.rate for run in runs], "bare µs/fact": [one.micros for one in bares]},
    )
