"""Does what the plan says to the processes of a run, when it says so."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from bench.faults.chaos import CONSUMED, Fault, Kind
from bench.faults.ledger import Ledger, Window
from bench.faults.proxy import Proxy
from bench.faults.replica import Replica, revive
from bench.faults.site import LOOK_SECONDS, Site
from cli.receiver import Answer, Receiver
from local_stack import postgres, rabbitmq
from local_stack.errors import StackError
from local_stack.process import Signals
from local_stack.system_package import RABBITMQ

SLOW = 0.05
"""Seconds that each packet to and from Postgres is held up: a statement takes a tenth of a second."""
FULL = 10
"""Messages that a queue takes while it is full."""
CLEARING = 3.0
"""Seconds for which a queue stays short when its consumers are back."""
KILL: Signals = ((signal.SIGKILL, 10.0),)
ENDS: Mapping[Kind, Signals] = {
    "rabbitmq_stop": rabbitmq.STOP_SIGNALS,
    "rabbitmq_kill": KILL,
    "postgres_restart": postgres.STOP_SIGNALS,
    "postgres_quit": postgres.STOP_SIGNALS[1:],
    "postgres_kill": KILL,
}
"""Signals that end the server: gently, at once, or without a chance to notice."""
ANSWERS: Mapping[Kind, Answer] = {"receiver_hangs": "hang", "receiver_503": 503}
POLICY = "faults"
STARTS = 10
"""Tries to start Postgres again: a backend may outlive its parent by a moment."""


@dataclass(slots=True)
class Inflicting:
    """What is going on, for whoever shows it; `ledger` is told of each fault's time."""

    site: Site
    receiver: Receiver
    ledger: Ledger
    done: list[Fault] = field(default_factory=list)
    now: list[Fault] = field(default_factory=list)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, plan: Sequence[Fault]) -> None:
        """All of it; returns when everything runs again."""
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for fault in plan:
                await asyncio.sleep(max(began + fault.at - asyncio.get_running_loop().time(), 0))
                group.create_task(self._inflict(fault), name=str(fault))

    async def _inflict(self, fault: Fault) -> None:
        match fault.kind:
            case "kill" | "term" | "freeze":
                async with self.site.replicas[fault.target].lock, self._noted(fault):
                    await self._strike(fault)
            case "kill_both":
                async with self._both(fault.target), self._noted(fault):
                    await self._strike(fault)
            case _:
                async with self._one_at_a_time, self._noted(fault):
                    await self._break(fault)

    @asynccontextmanager
    async def _noted(self, fault: Fault) -> AsyncIterator[None]:
        self.now.append(fault)
        began = time.time()
        try:
            yield
        finally:
            self.now.remove(fault)
            self.done.append(fault)
            self.ledger.windows.append(Window(str(fault), began, time.time()))

    @asynccontextmanager
    async def _both(self, service: str) -> AsyncIterator[None]:
        async with AsyncExitStack() as held:
            for replica in self.site.of(service):
                await held.enter_async_context(replica.lock)
            yield

    async def _strike(self, fault: Fault) -> None:
        match fault.kind:
            case "term":
                await self._stop_and_start(self.site.replicas[fault.target])
            case "freeze":
                await self.site.replicas[fault.target].freeze(fault.seconds)
            case "kill":
                await _kill_and_start(self.site.replicas[fault.target])
            case _:
                await _kill_and_start(*self.site.of(fault.target))

    async def _stop_and_start(self, replica: Replica) -> None:
        """Only what is ready has work to finish; before that, SIGTERM may end it as any program that starts."""
        await self._until_ready(replica)
        self.ledger.drains.append(await replica.stop())
        replica.start()

    async def _until_ready(self, *replicas: Replica) -> None:
        """While they are ours, nobody else starts again what ends by itself."""
        for replica in replicas:
            while not await replica.ready():
                revive(replica, self.ledger.ended)
                await asyncio.sleep(LOOK_SECONDS)

    async def _break(self, fault: Fault) -> None:
        match fault.kind:
            case "rabbitmq_stop" | "rabbitmq_kill":
                await self._rabbitmq(ENDS[fault.kind], away=fault.seconds)
            case "postgres_restart" | "postgres_quit" | "postgres_kill":
                await self._postgres(ENDS[fault.kind])
            case "queue_full":
                await self._fill(fault)
            case "slow_database":
                await self._slow(fault.seconds)
            case "hang_database" | "hang_broker":
                await _hold(self._way_to(fault), fault.seconds)
            case "cut_database" | "cut_broker" | "receiver_refuses":
                await _refuse(self._way_to(fault), fault.seconds)
            case "receiver_hangs" | "receiver_503":
                await self._answer(ANSWERS[fault.kind], fault.seconds)
            case "kill" | "kill_both" | "term" | "freeze":
                raise ValueError(fault)
            case _:
                assert_never(fault.kind)

    def _way_to(self, fault: Fault) -> Proxy:
        what = fault.kind.rpartition("_")[2]
        return {"database": self.site.database, "broker": self.site.broker}.get(what, self.site.receiver)

    async def _rabbitmq(self, signals: Signals, *, away: float) -> None:
        node = self.site.stack.rabbitmq
        await asyncio.to_thread(node.process.stop, signals)
        await asyncio.sleep(away)
        await asyncio.to_thread(_until_started, node.launch)
        await asyncio.to_thread(node.wait_ready)

    async def _postgres(self, signals: Signals) -> None:
        """Its backends have sessions of their own, so with a kill they are sought and killed too."""
        server = self.site.stack.postgres
        backends = _children(server.process.pid()) if signals is KILL else []
        await asyncio.to_thread(server.process.stop, signals)
        for backend in backends:
            with suppress(ProcessLookupError):
                os.kill(backend, signal.SIGKILL)
        await asyncio.to_thread(_until_started, server.start)

    async def _fill(self, fault: Fault) -> None:
        """The queue's consumers are away, and what it takes are a few messages: the rest is refused."""
        async with self._both(fault.target):
            await asyncio.to_thread(self._policy, CONSUMED[fault.target])
            await self._until_ready(*self.site.of(fault.target))
            stopped = await asyncio.gather(*(replica.stop() for replica in self.site.of(fault.target)))
            self.ledger.drains.extend(stopped)
            await asyncio.sleep(fault.seconds)
            for replica in self.site.of(fault.target):
                replica.start()
        await asyncio.sleep(CLEARING)
        await asyncio.to_thread(self._policy, None)

    def _policy(self, queue: str | None) -> None:
        """Set it for that queue; None: take it back."""
        node = self.site.stack.rabbitmq
        limits = f'{{"max-length": {FULL}, "overflow": "reject-publish"}}'
        what = ["clear_policy", POLICY]
        if queue:
            what = ["set_policy", "--apply-to", "queues", POLICY, f"^{queue.replace('.', '[.]')}$", limits]
        program = str(RABBITMQ.program().with_name("rabbitmqctl"))
        command = [program, "--node", node.node, *what]
        done = subprocess.run(command, env=node.environment(), capture_output=True, text=True, check=False)  # noqa: S603  # our own node
        if done.returncode:
            raise StackError(f"rabbitmqctl {' '.join(what)}: {done.stdout}{done.stderr}")

    async def _slow(self, seconds: float) -> None:
        self.site.database.latency = SLOW
        await asyncio.sleep(seconds)
        self.site.database.latency = 0

    async def _answer(self, answer: Answer, seconds: float) -> None:
        paths = list(self.receiver.secrets)
        self.receiver.answers.update(dict.fromkeys(paths, answer))
        await asyncio.sleep(seconds)
        for path in paths:
            self.receiver.answers.pop(path, None)


async def _kill_and_start(*replicas: Replica) -> None:
    await asyncio.gather(*(replica.kill() for replica in replicas))
    for replica in replicas:
        replica.start()


async def _hold(proxy: Proxy, seconds: float) -> None:
    proxy.hold()
    await asyncio.sleep(seconds)
    proxy.let_go()


async def _refuse(proxy: Proxy, seconds: float) -> None:
    await proxy.refuse()
    await asyncio.sleep(seconds)
    await proxy.accept()


def _children(pid: int | None) -> list[int]:
    if pid is None:
        return []
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def _until_started(start: Callable[[], None]) -> None:
    """What was killed may leave its port or its memory taken for a moment."""
    for last in (False,) * (STARTS - 1) + (True,):
        try:
            start()
            return
        except StackError:
            if last:
                raise
            time.sleep(1)
