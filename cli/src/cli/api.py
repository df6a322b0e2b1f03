"""The REST API as the commands call it; what it refuses becomes one sentence."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Any, TypeVar

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout

from cli import stack_env
from local_stack.errors import StackError

T = TypeVar("T")

NO_CONTENT = 204
MAX_PER_PAGE = 100
"""Items of a page that the API gives at most."""

NAMESPACE = "/wp-json/trustlens/v1"
TIMEOUT_SECONDS = 30.0
"""The API itself gives an answer up after five."""
TOO_MANY = 429
MAX_WAIT_SECONDS = 60
"""A key that may ask but once a minute is still waited for."""


class ApiError(StackError):
    """The API did not do what was asked; the message says why and what helps. `status` 0: it did not answer.

    `params`: what is wrong with each field that was refused.
    """

    def __init__(self, message: str, *, status: int = 0, params: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.params = params or {}


@dataclass(frozen=True, slots=True)
class Api:
    """Answers are parsed JSON, amounts as Decimals. Every call may raise ApiError."""

    session: ClientSession
    url: str
    """With the namespace, without a slash at the end."""

    async def get(self, path: str, **query: str) -> Any:
        return await self._call("GET", path, query=query)

    async def post(self, path: str, body: object = None) -> Any:
        return await self._call("POST", path, body=body)

    async def put(self, path: str, body: object) -> Any:
        return await self._call("PUT", path, body=body)

    async def patch(self, path: str, body: object) -> Any:
        return await self._call("PATCH", path, body=body)

    async def delete(self, path: str, **query: str) -> Any:
        """None where there is nothing to say."""
        return await self._call("DELETE", path, query=query)

    async def collect(self, path: str, *, limit: int, **query: str) -> list[Any]:
        """The first `limit` items of a list, page by page."""
        size = min(limit, MAX_PER_PAGE)
        items: list[Any] = []
        for page in count(1):
            found = await self.get(path, **query, page=str(page), per_page=str(size))
            items += found
            if len(found) < size or len(items) >= limit:
                return items[:limit]
        raise AssertionError("count() has no end")

    async def _call(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: object = None
    ) -> Any:
        try:
            async with self.session.request(
                method, self.url + path, params=query or None, json=body, allow_redirects=False
            ) as response:
                status, text = response.status, await response.text(errors="replace")
                wait = _too_soon(response)
        except (ClientError, TimeoutError, OSError) as error:
            raise ApiError(unreachable(self.url, error)) from error
        if wait is not None:  # nothing was done
            await asyncio.sleep(wait)
            return await self._call(method, path, query=query, body=body)
        answer = _parsed(text)
        if not 200 <= status < 300:
            raise ApiError(refusal(status, answer), status=status, params=_told(answer)[2])
        if answer is None and status != NO_CONTENT:
            raise ApiError(f"What answers at {self.url} is not TrustLens: check TRUSTLENS_API_URL.", status=status)
        return answer


def _too_soon(response: ClientResponse) -> int | None:
    """Seconds to wait, where the key only asks too often; None: the answer stands, also where it says longer."""
    told = response.headers.get("Retry-After", "")
    wait = int(told) if response.status == TOO_MANY and re.fullmatch("[0-9]{1,5}", told) else None
    return wait if wait is not None and wait <= MAX_WAIT_SECONDS else None


def _parsed(text: str) -> Any:
    """None for what is no JSON: a proxy's page."""
    try:
        return json.loads(text, parse_float=Decimal)
    except ValueError:
        return None


def unreachable(url: str, error: Exception) -> str:
    why = "it took too long" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return f"The API does not answer at {url}: {why}. `make up` starts the local stack."


def refusal(status: int, answer: object) -> str:
    """The sentence for an answer that is no success; `answer` is its JSON, if it was any."""
    code, message, params = _told(answer)
    match status:
        case 400 if params:
            told = "The API refused it: " + "; ".join(f"{name} {why}" for name, why in params.items()) + "."
        case 401:
            told = "The API does not know this key: check TRUSTLENS_API_KEY."
        case 403:
            told = f"The key may not do this. {message}"
        case 404 if code == "rest_no_route":
            told = "The API does not know this request: it is older than this command."
        case 404:
            told = message or "There is no such thing."
        case 409 if message:
            told = message
        case 503:
            told = f"TrustLens cannot do this just now. {message}"
        case _:
            told = f"The API answered HTTP {status}. {message}"
    return told.rstrip()


def _told(answer: object) -> tuple[str, str, Mapping[str, object]]:
    """Code, message and wrong parameters of an error as WordPress writes it."""
    match answer:
        case {"code": str(code), "message": str(message), "data": {"params": dict(params)}}:
            return code, message, params
        case {"code": str(code), "message": str(message)}:
            return code, message, {}
        case _:
            return "", "", {}


def run(work: Callable[[Api], Awaitable[T]]) -> T:
    """What `work` returns, done with the API and the key of the environment or of `stack.env`."""
    env = stack_env.read()
    url = stack_env.need(env, "TRUSTLENS_API_URL").rstrip("/") + NAMESPACE
    return asyncio.run(connected(url, stack_env.need(env, "TRUSTLENS_API_KEY"), work))


async def connected(url: str, key: str, work: Callable[[Api], Awaitable[T]], *, patience: float = TIMEOUT_SECONDS) -> T:
    """As `run`; `url` with the namespace, `patience` in seconds for each call."""
    headers = {"X-TrustLens-API-Key": key}
    async with ClientSession(headers=headers, timeout=ClientTimeout(total=patience)) as session:
        return await work(Api(session, url))
