"""What others ask of the rule engine: rules are made, changed, restored and deleted here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from rule_engine import starters
from rule_engine.rules import (
    READ_ONLY,
    Frame,
    NewRule,
    Saved,
    change,
    framed,
    only_frames,
    patched,
    rule_fields,
    rule_json,
    switches_on,
)
from rule_engine.schema import schema
from rule_engine.starters import Install
from rule_engine.store import rules, rulesets, shops
from rule_engine.targets import Settled, settled
from rule_engine.validate import read, validate
from shared.commands import BackgroundHandler, Command, Handler, RefusedError, invalid, parse
from shared.db import Connection, Pool
from shared.ids import uuid7
from shared.mistakes import Problem, by_path
from shared.outbox import Transaction
from shared.secrets import Vault, generate
from shared.targets import ANYWHERE, Reach

MAX_RULES = 1000
"""Of a store."""


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Named(_Asked):
    """`rule.delete`"""

    id: UUID


class _Replacement(_Named):
    """`rule.update`: all that the owner says of the rule."""

    rule: dict[str, Any]


class _Patch(_Named):
    """`rule.patch`: the fields to change, as NewRule has them."""

    fields: dict[str, Any]


class _Draft(_Asked):
    """`rule.validate`: a rule as `rule.create` takes it, or as it is shown, edited."""

    rule: dict[str, Any]


class _Restoration(_Named):
    """`rule.restore`"""

    version: StrictInt = Field(ge=1, le=2**31 - 1)


@dataclass(frozen=True, slots=True)
class _Written:
    """A rule that was saved, with what only the answer to that says."""

    saved: Saved
    generated: Mapping[int, str]
    """Secrets, by the action's position."""
    doubts: Sequence[Problem]

    def json(self) -> dict[str, Any]:
        shown = rule_json(self.saved)
        for position, secret in self.generated.items():
            shown["actions"][position] = {**shown["actions"][position], "secret": secret}
        return shown | {"warnings": _told(self.doubts)} if self.doubts else shown


def handlers(vault: Vault, reach: Reach) -> dict[str, Handler]:
    return RuleCommands(vault, reach).handlers()


def background(pool: Pool, vault: Vault, reach: Reach) -> dict[str, BackgroundHandler]:
    """What only reads: outside of a transaction, and nothing is kept of it."""

    async def judged(command: Command) -> dict[str, Any]:
        """What is wrong with a draft, or doubtful. One that names a rule may keep its targets."""
        draft = parse(_Draft, command.data).rule
        said = {name: value for name, value in draft.items() if name not in READ_ONLY}
        rule, report = read(said, reach, await shops.shop(pool, command.store_id))
        errors = list(report.errors)
        if rule:
            targets = await _settled(pool, vault, rule, await _named(pool, command.store_id, draft))
            errors += [Problem(tuple(path.split(".")), message) for path, message in targets.problems.items()]
        return {"valid": not errors, "errors": _told(errors), "warnings": _told(report.warnings)}

    async def all_of_the_language(_: Command) -> dict[str, Any]:
        return schema()

    async def to_start_from(command: Command) -> list[dict[str, Any]]:
        """Each with the rule that was made from it, if one was and is there still."""
        made = await rules.started(pool, command.store_id)
        return [
            {**starter, "rule_id": str(made[key]) if (key := starter["key"]) in made else None}
            for starter in starters.listed()
        ]

    return {"rule.validate": judged, "rule.schema": all_of_the_language, "rule.starters": to_start_from}


async def _named(pool: Pool, store_id: UUID, draft: Mapping[str, Any]) -> Saved | None:
    """The rule whose change a draft is."""
    try:
        return await rules.find_rule(pool, store_id, UUID(str(draft.get("id"))))
    except ValueError:
        return None


async def _settled(connection: Connection | Pool, vault: Vault, asked: NewRule, stored: Saved | None) -> Settled:
    return settled(
        asked.actions,
        before=stored.fields["actions"] if stored else (),
        known=await rules.targets(connection, vault, stored.id) if stored else {},
        new_id=uuid7,
        new_secret=generate,
    )


class RuleCommands:
    """Each answers with the body that the API gives its caller. Each save is a new version, unless nothing changed."""

    def __init__(self, vault: Vault, reach: Reach) -> None:
        self._vault = vault
        self._reach = reach

    def handlers(self) -> dict[str, Handler]:
        return {
            "rule.create": self.create,
            "rule.update": self.update,
            "rule.patch": self.patch,
            "rule.restore": self.restore,
            "rule.delete": self.delete,
            "rule.install": self.install,
        }

    async def create(self, transaction: Transaction, command: Command) -> dict[str, Any]:
        asked: NewRule = parse(NewRule, command.data, context=self._reach)
        await _lock_rules(transaction.connection, command.store_id)
        await _require_room(transaction.connection, command.store_id, 1)
        return (await self._write(transaction.connection, command, asked, None)).json()

    async def update(self, transaction: Transaction, command: Command) -> dict[str, Any]:
        """The rule as the body has it; what the body leaves out goes back to its default."""
        asked: _Replacement = parse(_Replacement, command.data)
        stored = await _locked(transaction.connection, command.store_id, asked.id)
        body = _fresh(asked.rule, stored)
        rule: NewRule = parse(NewRule, body, context=self._reach)
        return (await self._write(transaction.connection, command, rule, stored)).json()

    async def patch(self, transaction: Transaction, command: Command) -> dict[str, Any]:
        """The rule with these fields changed.

        What the rule says is judged again only where it changes, so that every rule can be switched off; and all of it
        when it is switched on.
        """
        asked: _Patch = parse(_Patch, command.data)
        stored = await _locked(transaction.connection, command.store_id, asked.id)
        fields = _fresh(asked.fields, stored)
        switched_on = switches_on(stored.fields, fields)
        if only_frames(fields) and not switched_on:
            frame: Frame = parse(Frame, framed(stored.fields, fields))
            new = replace(stored, fields={**stored.fields, **frame.model_dump(mode="json")})
            return rule_json(await _save(transaction.connection, command, new, stored))
        reach = self._reach if switched_on or "actions" in fields else ANYWHERE
        rule: NewRule = parse(NewRule, patched(stored.fields, fields), context=reach)
        return (await self._write(transaction.connection, command, rule, stored)).json()

    async def restore(self, transaction: Transaction, command: Command) -> dict[str, Any]:
        """An older version once more, its mode included, with the targets that it had."""
        asked: _Restoration = parse(_Restoration, command.data)
        stored = await _locked(transaction.connection, command.store_id, asked.id)
        fields = await rules.version_fields(transaction.connection, stored.id, asked.version)
        if fields is None:
            raise RefusedError(404, "trustlens_rule_version_not_found", "The rule never had this version.")
        rule: NewRule = parse(NewRule, fields, context=self._reach)
        return (await self._write(transaction.connection, command, rule, stored)).json()

    async def delete(self, transaction: Transaction, command: Command) -> dict[str, Any]:
        rule_id = parse(_Named, command.data).id
        if not await rules.delete_rule(transaction.connection, command.store_id, rule_id):
            raise _no_rule()
        await rulesets.raise_revision(transaction.connection, command.store_id)
        return {"id": str(rule_id)}

    async def install(self, transaction: Transaction, command: Command) -> dict[str, Any]:
        """Rules made from starters, off. Those that are there already, or could never fire here, are left out."""
        asked: Install = parse(Install, command.data, context=self._reach)
        chosen = starters.chosen(asked)
        if chosen.problems:
            raise invalid(chosen.problems)
        connection, skipped = transaction.connection, dict(chosen.skipped)
        await _lock_rules(connection, command.store_id)
        made = await rules.started(connection, command.store_id)
        skipped |= {key: f"is there already, as rule {made[key]}" for key in chosen.bodies if key in made}
        bodies = {key: body for key, body in chosen.bodies.items() if key not in made}
        await _require_room(connection, command.store_id, len(bodies))
        installed = []
        for key, body in bodies.items():
            rule: NewRule = parse(NewRule, body, context=self._reach)
            try:
                written = await self._write(connection, command, rule, None, starter=key)
            except RefusedError as error:  # nothing of it is written yet
                skipped[key] = "is refused: " + "; ".join(error.refusal.params.values())
            else:
                installed.append({**written.json(), "starter": key})
        told = [{"starter": key, "message": message} for key, message in skipped.items()]
        return {"installed": installed, "skipped": told}

    # Saving -----------------------------------------------------------------------------------------------------------

    async def _write(
        self,
        connection: Connection,
        command: Command,
        asked: NewRule,
        stored: Saved | None,
        *,
        starter: str | None = None,
    ) -> _Written:
        """
        Raises:
            RefusedError: 400, what is wrong with it.
        """
        report = validate(asked, await shops.shop(connection, command.store_id))
        if report.errors:
            raise invalid(by_path(report.errors))
        targets = await _settled(connection, self._vault, asked, stored)
        if targets.problems:
            raise invalid(targets.problems)
        fields = rule_fields(asked, targets.by_position)
        moved = [*targets.new, *targets.changed]
        if stored:
            saved = await _save(connection, command, replace(stored, fields=fields), stored, moved=bool(moved))
        else:
            saved = await _insert(connection, command, fields, starter)
        await rules.save_targets(connection, self._vault, saved, moved)
        return _Written(saved, _generated(targets), report.warnings)


async def _lock_rules(connection: Connection, store_id: UUID) -> None:
    """Until the commit nobody else adds a rule: so two are not both the thousandth, nor both made of one starter."""
    await rulesets.raise_revision(connection, store_id)


async def _require_room(connection: Connection, store_id: UUID, number: int) -> None:
    """
    Raises:
        RefusedError: 409, so many more would be too many.
    """
    if await rules.count_rules(connection, store_id) + number > MAX_RULES:
        raise RefusedError(409, "trustlens_too_many_rules", f"A store may have {MAX_RULES:,} rules: delete one.")


async def _locked(connection: Connection, store_id: UUID, rule_id: UUID) -> Saved:
    stored = await rules.lock_rule(connection, store_id, rule_id)
    if stored is None:
        raise _no_rule()
    return stored


def _no_rule() -> RefusedError:
    return RefusedError(404, "trustlens_rule_not_found", "There is no such rule.")


def _fresh(body: Mapping[str, Any], stored: Saved) -> Mapping[str, Any]:
    """What the body says of the rule.

    Raises:
        RefusedError: 409, it was made from another version; 400, it is another rule's.
    """
    asked = change(body, rule_id=stored.id, version=stored.version)
    if asked.problems:
        raise invalid(asked.problems)
    if asked.stale:
        raise RefusedError(409, "trustlens_rule_changed", asked.stale)
    return asked.fields


async def _insert(connection: Connection, command: Command, fields: Mapping[str, Any], starter: str | None) -> Saved:
    now = datetime.now(UTC)
    saved = Saved(uuid7(), command.store_id, 1, fields, created_at=now, updated_at=now)
    await rules.insert_rule(connection, saved, starter=starter)
    await rules.insert_version(connection, saved, command.actor)
    return saved


async def _save(connection: Connection, command: Command, new: Saved, stored: Saved, *, moved: bool = False) -> Saved:
    """The next version, unless it says what the last one does. `moved`: its targets are not as they were."""
    if new.fields == stored.fields and not moved:
        return stored
    saved = replace(new, version=stored.version + 1, updated_at=datetime.now(UTC))
    await rules.update_rule(connection, saved)
    await rules.insert_version(connection, saved, command.actor)
    await rulesets.raise_revision(connection, command.store_id)
    return saved


def _generated(targets: Settled) -> dict[int, str]:
    return {n: targets.by_position[n].secret or "" for n in sorted(targets.generated)}


def _told(found: Iterable[Problem]) -> list[dict[str, str]]:
    return [{"pointer": problem.pointer, "message": problem.message} for problem in found]
