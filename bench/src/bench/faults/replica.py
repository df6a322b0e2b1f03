"""One process of a service: killed, asked to stop, started again, and watched."""

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from bench.faults.audit import GRACE
from bench.faults.ledger import Drain
from local_stack.folder import Folder
from local_stack.process import POLL_SECONDS
from local_stack.services import Service, ServiceProcess
from shared.pause import pause


@dataclass(slots=True)
class Replica:
    """`lock` belongs to whoever ends it, until it is started again."""

    service: ServiceProcess
    environment: Mapping[str, str]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _pid: int = 0
    _code: int | None = None

    @classmethod
    def of(cls, name: str, module: str, folder: Folder, port: int, environment: Mapping[str, str]) -> "Replica":
        return cls(ServiceProcess(Service(name, module), folder, port), environment)

    @property
    def name(self) -> str:
        return self.service.service.name

    @property
    def url(self) -> str:
        return self.service.url

    def start(self) -> None:
        """Returns before it is ready."""
        self.service.launch(self.environment)
        self._pid, self._code = self.service.process.pid() or 0, None

    async def ready(self) -> bool:
        return await asyncio.to_thread(self.service.ready)

    async def kill(self) -> None:
        self._send(signal.SIGKILL)
        await self._ended(5)

    async def stop(self) -> Drain:
        """SIGTERM; after its grace it is killed."""
        began = time.monotonic()
        self._send(signal.SIGTERM)
        code = await self._ended(GRACE)
        if code is None:
            self._send(signal.SIGKILL)
            code = await self._ended(5)
        return Drain(self.name, time.monotonic() - began, -signal.SIGKILL if code is None else code)

    async def freeze(self, seconds: float) -> None:
        """It stands still and holds what it holds: connections, locks, leases."""
        self._send(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._send(signal.SIGCONT)

    def ended(self) -> int | None:
        """Its exit code, if it has ended; negative: by a signal."""
        with suppress(ChildProcessError):  # whose end somebody asked for before
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, number)

    async def _ended(self, seconds: float) -> int | None:
        deadline = time.monotonic() + seconds
        while (code := self.ended()) is None and time.monotonic() < deadline:  # noqa: ASYNC110  # a process's end is no event
            await asyncio.sleep(POLL_SECONDS)
        return code


async def watch(replicas: Mapping[str, Replica], ended: list[str], stop: asyncio.Event) -> None:
    """Start again what ended by itself, as whatever runs it would, and note it."""
    while not await pause(1, stop):
        for replica in replicas.values():
            if not replica.lock.locked():
                revive(replica, ended)


def revive(replica: Replica, ended: list[str]) -> None:
    if (code := replica.ended()) is not None:
        ended.append(f"{replica.name} with exit code {code}")
        replica.start()
