"""A TCP proxy that makes a network bad on purpose: slow, silent, cut, or refusing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CHUNK = 65536


class Proxy:
    """Listens on 127.0.0.1 and passes on what comes, to a port of the same machine. Use `running`."""

    def __init__(self, listen: int, to: int) -> None:
        self.latency = 0.0
        """Seconds that whatever passes is held up, each way."""
        self._listen, self._to = listen, to
        self._passing = asyncio.Event()
        self._passing.set()
        self._listener: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    async def accept(self) -> None:
        """Let connections in."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._connected, "127.0.0.1", self._listen)

    async def refuse(self) -> None:
        """Let no connection in, and break those there are."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self.cut()

    def hold(self) -> None:
        """Let nothing through, and break nothing."""
        self._passing.clear()

    def let_go(self) -> None:
        self._passing.set()

    async def cut(self) -> None:
        """Break all connections there are."""
        self.let_go()
        for end in self._ends:
            end.transport.abort()
        if self._pumps:
            await asyncio.wait(self._pumps)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        if self._listener is None:  # refusing since a moment
            writer.transport.abort()
            back.transport.abort()
            return
        self._ends |= {writer, back}
        self._pump(reader, back)
        self._pump(there, writer)

    def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass_on(source, sink), name="proxy")
        self._pumps.add(task)
        task.add_done_callback(self._pumps.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Until one side ends; then the other does."""
        with suppress(OSError):
            while data := await source.read(CHUNK):
                if self.latency:
                    await asyncio.sleep(self.latency)
                await self._passing.wait()
                sink.write(data)
                await sink.drain()
        with suppress(OSError):
            sink.close()
            await sink.wait_closed()
        self._ends.discard(sink)


@asynccontextmanager
async def running(listen: int, to: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(listen, to)
    await proxy.accept()
    try:
        yield proxy
    finally:
        await proxy.refuse()
