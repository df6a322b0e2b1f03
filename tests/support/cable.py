"""A cable to a server, which a test can pull out and put back in: the server itself serves other tests too."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from math import inf
from urllib.parse import urlsplit


class Cable:
    """`url` is the server's, by way of this cable.

    `breaks_after`: how many bytes from the server its first connections let through before they end.
    """

    def __init__(self, url: str, *, breaks_after: Iterable[int] = ()) -> None:
        self._server = urlsplit(url)
        self._breaks_after = iter(breaks_after)
        self._listener: asyncio.Server | None = None
        self._port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._pumping: set[asyncio.Task[None]] = set()
        self._passes = asyncio.Event()
        self._passes.set()

    @property
    def url(self) -> str:
        user, _, _ = self._server.netloc.rpartition("@")
        return self._server._replace(netloc=f"{user}@127.0.0.1:{self._port}").geturl()

    async def plug(self) -> None:
        self._listener = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = self._listener.sockets[0].getsockname()[1]

    async def pull(self) -> None:
        """Open connections break, new ones are refused."""
        self._passes.set()
        if self._listener:
            self._listener.close()
            self._listener = None
        for writer in self._open:
            writer.transport.abort()
        if self._pumping:
            await asyncio.wait(self._pumping)

    def hang(self) -> None:
        """Nothing passes any more, and nothing breaks: as of a server that stands still."""
        self._passes.clear()

    def pass_on(self) -> None:
        """What was kept back arrives now."""
        self._passes.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._server.hostname, self._server.port)
        if self._listener is None:  # pulled in the meantime
            writer.transport.abort()
            back.transport.abort()
            return
        self._open |= {writer, back}
        for source, sink, most in ((reader, back, inf), (there, writer, next(self._breaks_after, inf))):
            task = asyncio.create_task(self._pump(source, sink, most))
            self._pumping.add(task)
            task.add_done_callback(self._pumping.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, most: float) -> None:
        with suppress(OSError):
            while data := await source.read(int(min(65536, most))):
                await self._passes.wait()
                most -= len(data)
                sink.write(data)
                await sink.drain()
        sink.close()
        with suppress(OSError):
            await sink.wait_closed()
        self._open.discard(sink)


@asynccontextmanager
async def cable(url: str) -> AsyncIterator[Cable]:
    made = Cable(url)
    await made.plug()
    try:
        yield made
    finally:
        await made.pull()
