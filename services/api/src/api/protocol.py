"""Beneath the application: connections, and the answers to what is too broken to be routed."""

import asyncio
from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import ContentEncodingError, LineTooLong

from api import errors
from api.errors import ApiError

log = structlog.get_logger()

MAX_LINE = 32 * 1024
"""Bytes of a request's first line: a parameter that is far too long is told by its name, in answers of our own."""
NAME = "TrustLens"
"""Of who answers; aiohttp would tell its version and Python's, from which is read what they are vulnerable to."""


class Protocol(web.RequestHandler):
    """One connection. What aiohttp answers by itself, in plain text, is answered in WordPress' words.

    Its own log lines carry the error's text, which repeats what was sent, so ours take their place.
    """

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # aiohttp's words, which repeat what was sent
    ) -> web.StreamResponse:
        """
        Raises:
            ConnectionError: part of another answer is under way.
        """
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun: no other can be sent")
        answer = errors.failed(exc, route=None, method=request.method) if status == 500 else _unreadable(status, exc)
        answer.force_close()
        return answer

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Also what is raised before a handler is asked: an Expect header that nobody can meet."""
        if isinstance(resp, web.HTTPException):
            resp = errors.of_http(resp, request.method)
        resp.headers["Server"] = NAME
        return await super().finish_response(request, resp, start_time)

    def log_exception(self, *_: Any, exc_info: BaseException | None = None, **__: Any) -> None:
        """The connection ends. It is the caller's doing where the rest of a body, already answered, is unreadable."""
        if isinstance(exc_info, web.RequestPayloadError):
            log.info("api.connection_closed", error=type(exc_info).__name__)
        else:
            errors.failed(exc_info, route=None, method="")


def _unreadable(status: int, error: BaseException | None) -> web.Response:
    log.info("api.unreadable", status=status, error=type(error).__name__)
    if isinstance(error, ContentEncodingError):
        message = "Content-Encoding may be gzip or deflate."
        return errors.response(ApiError(415, "rest_unsupported_media_type", message))
    if isinstance(error, LineTooLong):
        return errors.response(ApiError(status, "rest_bad_request", "The address or a header is too long."))
    return errors.response(ApiError(status, "rest_bad_request", "This could not be read as HTTP."))


class Site(web.BaseSite):
    """Where connections are taken. One that has no request in hand for `idle_seconds` is closed, also where a head has
    come in part: however slowly it comes, it gets no more time than that.
    """

    __slots__ = ("_host", "_idle_seconds", "_port")

    def __init__(self, runner: web.AppRunner, host: str, port: int, *, idle_seconds: float) -> None:
        super().__init__(runner)
        self._host = host
        self._port = port
        self._idle_seconds = idle_seconds

    @property
    def name(self) -> str:
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        await super().start()
        loop, server = asyncio.get_running_loop(), self._runner.server
        if server is None:
            raise RuntimeError("the runner is not set up")

        def connected() -> Protocol:
            none: Any = None  # as AppRunner hands it on, against the signature
            return Protocol(
                server,
                loop=loop,
                access_log=none,
                max_line_size=MAX_LINE,
                keepalive_timeout=self._idle_seconds,
            )

        self._server = await loop.create_server(connected, self._host, self._port, backlog=self._backlog)


async def serve(app: web.Application, host: str, port: int, *, idle_seconds: float) -> tuple[web.AppRunner, int]:
    """Start listening; the runner (to clean up) and the port in use."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    await Site(runner, host, port, idle_seconds=idle_seconds).start()
    return runner, runner.addresses[0][1]
