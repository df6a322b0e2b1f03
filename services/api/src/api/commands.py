"""Changes of what other services own: the owner is asked, and its answer becomes ours."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from aiohttp import web

from api import idempotency
from api.errors import refused, unanswered
from api.state import STATE
from api.stores import Key
from shared.commands import NoAnswerError

SCORER = "scorer.commands"
DISPATCHER = "dispatcher.commands"
RULE_ENGINE = "rule-engine.commands"


async def ask(
    request: web.Request,
    key: Key,
    owner: str,
    command: str,
    data: Mapping[str, Any],
    *,
    at_least: timedelta = timedelta(0),
) -> Any:
    """The body of the owner's answer. `at_least`: what the command takes by its nature.

    Raises:
        ApiError: what the owner refused, or 503 after the deadline: then it will not be begun any more.
    """
    state = request.app[STATE]
    within = at_least + state.command_within
    try:
        answer = await state.asker.ask(
            owner,
            command,
            store_id=key.store_id,
            actor=f"key:{key.prefix}",
            data=data,
            within=within,
            command_id=idempotency.command_id(request),
        )
    except NoAnswerError:
        raise unanswered() from None
    if answer.refusal:
        raise refused(answer.refusal)
    return answer.body
