"""How many deliveries a second one dispatcher makes: from RabbitMQ to the commit of the recorded attempt."""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

from bench import dispatching, stack
from bench.bare_posts import Post, Took
from bench.dispatching import DispatcherProcess, ReceiverProcess, Subscriber
from bench.metrics import Reading, cpu_seconds
from bench.progress import counted
from bench.receiver import Told
from bench.report import Bound, Figure, Result
from bench.stack import Site, Track
from dispatcher.deliveries import Delivery
from dispatcher.destinations import webhook
from local_stack.errors import StackError
from shared.events import Event

QUEUE = "dispatcher.events"
ENDPOINTS = 16
AT_ONCE = 16
"""Requests in flight to one endpoint: of the dispatcher's settings, the default."""
RATIO = Bound("at least", 0.40)
NONE = Bound("at most", 0)


@dataclass(frozen=True, slots=True)
class Run:
    """One dispatcher's way through a full queue."""

    seconds: float
    """From the commit that made the first deliveries to the one that recorded the last, by Postgres' clock."""
    deliveries: int
    delivered: int
    """As recorded."""
    told: Reading
    came: Told
    processors: dict[str, float]
    """Microseconds of processor for a delivery, by who used them; starting is not in it."""
    peak_memory: int

    @property
    def rate(self) -> float:
        return self.delivered / self.seconds

    @property
    def lost(self) -> int:
        """Recorded as delivered, and never received."""
        return max(self.delivered - len(self.came.at), 0)

    def split(self) -> dict[str, float]:
        """Microseconds of a delivery on its way into the table. Sending and recording happen beside that."""
        parse = self.told.value("trustlens_parse_seconds_total", queue=QUEUE)
        batch = self.told.value("trustlens_batch_seconds_sum", queue=QUEUE)
        seconds = {"parse": parse, "from taking to the ack": batch - parse}
        return {name: 1e6 * value / self.deliveries for name, value in seconds.items()}

    @property
    def attempt(self) -> float:
        """Milliseconds from the name's lookup to the end of the answer, on the average."""
        name = "trustlens_delivery_attempt_seconds"
        return 1e3 * self.told.value(f"{name}_sum") / max(self.told.value(f"{name}_count"), 1)


async def measure(site: Site, *, count: int, rounds: int) -> Result:
    runs: list[Run] = []
    bares: list[Took] = []
    for number in range(1, rounds + 1):
        async with stack.track(site) as track, dispatching.receiving(site) as receiver:
            subscribers = await dispatching.subscribers(track, receiver.urls(ENDPOINTS))
            turns = [subscribers[nth % ENDPOINTS] for nth in range(count)]
            events = dispatching.events(turns)
            runs.append(await _through(track, receiver, events, f"dispatch {number}/{rounds}"))
            with counted(f"bare {number}/{rounds}", count):
                bares.append(await _bare(site, list(map(bare_post, turns, events))))
    return _result(runs, bares)


async def _through(track: Track, receiver: ReceiverProcess, events: Sequence[Event], text: str) -> Run:
    """Fill the queue, start a dispatcher, wait until all is recorded."""
    with counted(f"{text}: filling the queue", len(events)) as show:
        await stack.fill(track, dispatching.outgoing(events), show)
    with counted(text, len(events)) as show:
        async with dispatching.dispatcher(track) as dispatcher:
            began = await _processors(track.site, dispatcher, receiver)
            told = await dispatcher.recorded(len(events), show)
            ended = await _processors(track.site, dispatcher, receiver)
            peak = dispatcher.peak_memory()
    seconds, deliveries, delivered = await _recorded(track)
    return Run(seconds, deliveries, delivered, told, await receiver.told(), began.until(ended), peak)


async def _recorded(track: Track) -> tuple[float, int, int]:
    """(seconds, deliveries, those that were delivered)"""
    async with stack.connected(track) as pool:
        row = await pool.fetchrow(
            "SELECT extract(epoch FROM max(finished_at) - min(created_at))::float AS seconds, count(*) AS deliveries,"
            " count(*) FILTER (WHERE status = 'delivered') AS delivered FROM dispatcher.deliveries"
        )
    return row["seconds"], row["deliveries"], row["delivered"]


@dataclass(frozen=True, slots=True)
class _Processors:
    """At one moment."""

    seconds: dict[str, float]
    deliveries: float

    def until(self, later: "_Processors") -> dict[str, float]:
        made = max(later.deliveries - self.deliveries, 1)
        return {name: 1e6 * (later.seconds[name] - seconds) / made for name, seconds in self.seconds.items()}


async def _processors(site: Site, dispatcher: DispatcherProcess, receiver: ReceiverProcess) -> _Processors:
    pids = {
        "the dispatcher": dispatcher.pid,
        "Postgres": site.stack.postgres.process.pid(),
        "RabbitMQ": site.stack.rabbitmq.process.pid(),
        "the receiver": receiver.process.pid(),
    }
    seconds = {name: cpu_seconds(pid) for name, pid in pids.items() if pid}
    return _Processors(seconds, dispatching.delivered(await dispatcher.read()))


def bare_post(subscriber: Subscriber, event: Event) -> Post:
    """What the dispatcher sends for an event, but for the time and the signature."""
    endpoint = subscriber.endpoint
    body = webhook.render(event, subscriber.site, include_email=True)
    headers = webhook.headers(
        _delivery(subscriber, event),
        endpoint.target,
        secret=dispatching.SECRET,
        next_secret=None,
        body=body,
        now=event.recorded_at,
    )
    return Post(endpoint.target.url, dispatching.SECRET, headers, body.decode())


def _delivery(subscriber: Subscriber, event: Event) -> Delivery:
    endpoint = subscriber.endpoint
    return Delivery(
        recorded_at=event.recorded_at,
        id=subscriber.delivery(event),
        store_id=event.store_id,
        target_id=endpoint.id,
        endpoint_id=endpoint.id,
        rule_id=None,
        event=event.type,
        source_id=event.id,
        shape="trustlens",
        email_hash=event.customer.email_hash,
        sequence=event.sequence,
        mode=endpoint.mode,
        max_attempts=1,
    )


async def _bare(site: Site, posts: Sequence[Post]) -> Took:
    """What the posts take by aiohttp alone, in a process of its own where the dispatcher was."""
    command = (sys.executable, "-m", "bench.bare_posts", str(site.scorer_core), str(AT_ONCE))
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    lines = "".join(json.dumps(asdict(post)) + "\n" for post in posts)
    told, _ = await process.communicate(lines.encode())
    if process.returncode:
        raise StackError("The bare posts failed.")
    return Took(**json.loads(told))


def _result(runs: Sequence[Run], bares: Sequence[Took]) -> Result:
    typical = sorted(runs, key=lambda run: run.rate)[len(runs) // 2]
    ours, bare = median(run.rate for run in runs), median(took.rate for took in bares)
    split = [run.split() for run in runs]
    return Result(
        "dispatch",
        [
            Figure("deliveries", ours, "deliveries/s"),
            Figure("whole", 1e6 / ours, "µs/delivery"),
            *(Figure(name, median(one[name] for one in split), "µs/delivery") for name in split[0]),
            *(
                Figure(f"processor of {name}", median(run.processors[name] for run in runs), "µs/delivery")
                for name in typical.processors
            ),
            Figure("an attempt", typical.attempt, "ms"),
            Figure("peak memory", typical.peak_memory / 2**20, "MiB"),
            Figure("bare posts", bare, "posts/s"),
            Figure("processor of the bare posts", median(took.micros for took in bares), "µs/post"),
            Figure("ratio to the bare posts", ours / bare, "times", RATIO),
            Figure("not delivered", sum(run.deliveries - run.delivered for run in runs), "deliveries", NONE),
            Figure("recorded, not received", sum(run.lost for run in runs), "deliveries", NONE),
            Figure("received more than once", sum(run.came.repeated for run in runs), "deliveries", NONE),
        ],
        series={"deliveries/s": [run.rate for run in runs], "bare posts/s": [took.rate for took in bares]},
    )
