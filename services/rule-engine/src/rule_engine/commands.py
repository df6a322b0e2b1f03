"""What others ask of the rule engine."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from rule_engine.actions import SendToUrl
from rule_engine.rules import NewRule, Saved, endpoints_named, rule_fields, rule_json
from rule_engine.store import rules, rulesets
from rule_engine.targets import Settled, settled
from shared.commands import Command, Handler, invalid, parse
from shared.db import Connection
from shared.ids import uuid7
from shared.outbox import Transaction
from shared.secrets import Vault, generate
from shared.targets import SHORT_SECRET, Reach


def handlers(vault: Vault, reach: Reach) -> dict[str, Handler]:
    async def create(transaction: Transaction, command: Command) -> Any:
        asked: NewRule = parse(NewRule, command.data, context=reach)
        return await _create(transaction.connection, vault, command.store_id, asked)

    return {"rule.create": create}


async def _create(connection: Connection, vault: Vault, store_id: UUID, asked: NewRule) -> Any:
    """The rule as it is shown, and, this once, the secrets that were generated for it."""
    await _require_endpoints(connection, store_id, asked)
    targets = settled(asked.actions, new_id=uuid7, new_secret=generate)
    if targets.problems:
        raise invalid(targets.problems)
    now = datetime.now(UTC)
    saved = Saved(uuid7(), store_id, 1, rule_fields(asked, targets.by_position), created_at=now, updated_at=now)
    await rules.insert_rule(connection, saved)
    await rules.insert_targets(connection, vault, saved, targets.new)
    await rulesets.raise_revision(connection, store_id)
    return _told_once(saved, asked, targets)


async def _require_endpoints(connection: Connection, store_id: UUID, asked: NewRule) -> None:
    named = endpoints_named(asked)
    if not named:
        return
    found = await rules.endpoints(connection, store_id, set(named.values()))
    missing = {f"actions.{n}.webhook_id": "there is no such endpoint" for n, i in named.items() if i not in found}
    if missing:
        raise invalid(missing)


def _told_once(saved: Saved, asked: NewRule, targets: Settled) -> dict[str, Any]:
    """The rule as it is shown, with what only the answer to its creation says."""
    shown = rule_json(saved)
    warnings = []
    for position, action in enumerate(asked.actions):
        if position in targets.generated:
            shown["actions"][position] |= {"secret": targets.by_position[position].secret}
        elif isinstance(action, SendToUrl) and action.secret and len(action.secret) < SHORT_SECRET:
            warnings.append(f"actions.{position}.secret: shorter than {SHORT_SECRET} characters, it can be guessed")
    return shown | {"warnings": warnings} if warnings else shown
