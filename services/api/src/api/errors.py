"""Errors as WordPress' REST API tells them: {"code", "message", "data": {"status", "params"?}}."""

import traceback
from collections.abc import Awaitable, Callable, Mapping

import structlog
from aiohttp import web

from api.body import BadBodyError
from api.proxies import is_host
from api.responses import as_json
from shared.commands import Refusal
from shared.db import is_transient
from shared.ids import uuid7

log = structlog.get_logger()

RETRY_AFTER = "5"
"""Seconds: a restarted Postgres or RabbitMQ is mostly back by then."""

_HTTP_CODES = {
    404: ("rest_no_route", "No route was found matching the URL."),
    405: ("rest_method_not_allowed", "The route exists, but not for this method."),
    408: ("rest_request_timeout", "The body did not arrive in time."),
    413: ("rest_content_too_large", "The body is too large."),
    415: ("rest_unsupported_media_type", "The body must be JSON: Content-Type: application/json."),
    417: ("rest_expectation_failed", "Of all that Expect may ask for, only 100-continue is known here."),
}


class ApiError(Exception):
    """The answer to the caller, where it is not what was asked for."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        params: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.params = params or {}
        self.headers = headers or {}


def invalid(params: Mapping[str, str]) -> ApiError:
    """400, each bad field with what is wrong."""
    return ApiError(400, "rest_invalid_param", f"Invalid parameter(s): {', '.join(params)}", params)


def refused(refusal: Refusal) -> ApiError:
    """What the owner of the thing answered."""
    return ApiError(refusal.status, refusal.code, refusal.message, refusal.params)


def unavailable() -> ApiError:
    return ApiError(503, "trustlens_unavailable", "Not possible just now; nothing was changed. Try again.")


def unanswered() -> ApiError:
    """The owner of what was to change gave no answer in time."""
    return ApiError(503, "trustlens_no_answer", "No answer in time. Look whether it was done before you try again.")


def response(error: ApiError) -> web.Response:
    data: dict[str, object] = {"status": error.status}
    if error.params:
        data["params"] = error.params
    headers = {"Retry-After": RETRY_AFTER} if error.status == 503 else error.headers
    return as_json({"code": error.code, "message": error.message, "data": data}, status=error.status, headers=headers)


@web.middleware
async def in_wordpress_words(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Every error of every route becomes an answer here."""
    try:
        _addressed(request)
        return await handler(request)
    except ApiError as error:
        return _refused(request, error)
    except BadBodyError as error:
        return _refused(request, invalid(error.params))
    except web.RequestPayloadError:
        answer = _refused(request, invalid({"body": "could not be read as its headers describe it"}))
        answer.force_close()  # nobody knows where the next request begins
        return answer
    except web.HTTPException as error:
        return of_http(error, request.method)
    except Exception as error:  # noqa: BLE001  # the last resort: the caller gets an id, the log the place
        return unexpected(request, error)


def _addressed(request: web.Request) -> None:
    """
    Raises:
        ApiError: 400, its Host header names no host.
    """
    if not is_host(request.headers.get("Host", "localhost")):
        raise ApiError(400, "rest_bad_request", "The Host header names no host.")


def _route(request: web.Request) -> str | None:
    """The path with its variables' names: the path itself may hold an e-mail. None: there is no such route."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else None


def _refused(request: web.Request, error: ApiError) -> web.Response:
    if error.status == 503:
        log.warning("api.unavailable", route=_route(request), code=error.code)
    else:
        # Without the fields' names: of those we do not know, the caller made them up.
        log.info("api.refused", route=_route(request), method=request.method, status=error.status, code=error.code)
    return response(error)


def of_http(error: web.HTTPException, method: str) -> web.Response:
    """What aiohttp raises by itself: no route, wrong method, too large."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        return _not_so(error, method)
    code, message = _HTTP_CODES.get(error.status, ("rest_error", error.reason))
    return response(ApiError(error.status, code, message))


def _not_so(error: web.HTTPMethodNotAllowed, method: str) -> web.Response:
    """The route is there, for other methods. OPTIONS asks which, and is answered."""
    allow = {"Allow": ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))}
    if method == "OPTIONS":
        return web.Response(status=204, headers=allow)
    return response(ApiError(405, *_HTTP_CODES[405], headers=allow))


def unexpected(request: web.Request, error: Exception) -> web.Response:
    """The answer to what nobody foresaw: something is away, or a mistake of ours."""
    if is_transient(error):
        log.warning("api.unavailable", route=_route(request), error=type(error).__name__)
        return response(unavailable())
    return failed(error, route=_route(request), method=request.method)


def failed(error: BaseException | None, *, route: str | None, method: str) -> web.Response:
    """500 with an id that is in the log; all else is only there."""
    error_id = str(uuid7())
    # Frames without the error's text: it may repeat a value, and values may be personal.
    log.error(
        "api.failed",
        route=route,
        method=method,
        error_id=error_id,
        error=type(error).__name__,
        trace="".join(traceback.format_tb(error.__traceback__)) if error else "",
    )
    body = {
        "code": "internal_server_error",
        "message": f"An error on our side, logged as {error_id}.",
        "data": {"status": 500, "error_id": error_id},
    }
    return as_json(body, status=500)
