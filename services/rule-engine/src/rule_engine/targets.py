"""Where a rule's own webhooks and Slack messages go, and which of these a changed rule keeps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from rule_engine.actions import SLACK_TIMEOUT, NewAction, SendSlack, SendToUrl
from shared.targets import MASK

OwnTarget = SendToUrl | SendSlack
"""An action with a target of its own."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where an action goes that names a URL. Its id stays the same over the rule's versions."""

    id: UUID
    url: str
    secret: str | None = field(repr=False)
    """None: Slack's, whose URL is the secret."""
    headers: Mapping[str, str] = field(repr=False)
    timeout: int
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The targets of a rule that is saved."""

    by_position: Mapping[int, Target]
    """Of each action that has one of its own."""
    new: tuple[Target, ...] = ()
    changed: tuple[Target, ...] = ()
    generated: frozenset[int] = frozenset()
    """Positions of those whose secret was generated now, to be shown this once."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Dotted path to what is wrong. With any, nothing is to be saved."""


def settled(
    actions: Sequence[NewAction],
    *,
    before: Sequence[Mapping[str, Any]] = (),
    known: Mapping[UUID, Target] = {},
    new_id: Callable[[], UUID],
    new_secret: Callable[[], str],
) -> Settled:
    """Which targets are new, kept or changed. `before`: the rule's actions until now, as they are kept; `known`: all
    targets that the rule ever had.

    An action keeps the target it names, and one that names none that of an action of the same type and URL. With it
    stay the secret, unless another is given, and the values of headers that come masked.
    """
    own = {n: action for n, action in enumerate(actions) if isinstance(action, SendToUrl | SendSlack)}
    problems = _unknown(own, known) | _twice(own)
    if problems:
        return Settled({}, problems=problems)
    kept = _kept(own, before, known)
    by_position: dict[int, Target] = {}
    generated: set[int] = set()
    for n, action in own.items():
        if problem := _masked_problem(action, kept.get(n)):
            problems[f"actions.{n}.headers"] = problem
        target = _target(action, kept.get(n), new_id)
        if isinstance(action, SendToUrl) and not target.secret:
            target = replace(target, secret=new_secret())
            generated.add(n)
        by_position[n] = target
    return Settled(
        by_position,
        new=tuple(target for n, target in by_position.items() if n not in kept),
        changed=tuple(target for n, target in by_position.items() if n in kept and target != kept[n]),
        generated=frozenset(generated),
        problems=problems,
    )


def _unknown(own: Mapping[int, OwnTarget], known: Mapping[UUID, Target]) -> dict[str, str]:
    return {
        f"actions.{n}.target_id": "is no target of this rule"
        for n, action in own.items()
        if action.target_id and not _fits(action, known.get(action.target_id))
    }


def _fits(action: OwnTarget, target: Target | None) -> bool:
    return target is not None and (target.secret is None) == isinstance(action, SendSlack)


def _twice(own: Mapping[int, OwnTarget]) -> dict[str, str]:
    named = [action.target_id for action in own.values() if action.target_id]
    return {
        f"actions.{n}.target_id": "is the target of two actions"
        for n, action in own.items()
        if named.count(action.target_id or UUID(int=0)) > 1
    }


def _kept(
    own: Mapping[int, OwnTarget], before: Sequence[Mapping[str, Any]], known: Mapping[UUID, Target]
) -> dict[int, Target]:
    kept = {n: known[action.target_id] for n, action in own.items() if action.target_id}
    named = {target.id for target in kept.values()}
    free = [
        (action["type"], action["url"], known[target_id])
        for action in before
        if action.get("target_id") and (target_id := UUID(action["target_id"])) in known and target_id not in named
    ]
    for n, action in own.items():
        same = next((it for it in free if it[:2] == (action.type, action.url)), None)
        if n not in kept and same:
            free.remove(same)
            kept[n] = same[2]
    return kept


def _masked_problem(action: OwnTarget, kept: Target | None) -> str | None:
    """Why masked header values can't be filled in. Values never follow a target to another host."""
    masked = [name for name, value in action.headers.items() if value == MASK] if isinstance(action, SendToUrl) else []
    if not masked:
        return None
    if kept and _host(action.url) != _host(kept.url):
        return "are masked, and the URL goes to another host: give their values"
    lost = [name for name in masked if kept is None or name not in kept.headers]
    return f"{', '.join(lost)}: masked, and no value is known: give it" if lost else None


def _host(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _target(action: OwnTarget, kept: Target | None, new_id: Callable[[], UUID]) -> Target:
    target_id = kept.id if kept else new_id()
    if isinstance(action, SendSlack):
        return Target(target_id, action.url, None, {}, SLACK_TIMEOUT)
    known = kept.headers if kept else {}
    headers = {name: known.get(name, value) if value == MASK else value for name, value in action.headers.items()}
    secret = action.secret or (kept.secret if kept else None)
    return Target(target_id, action.url, secret, headers, action.timeout)
