"""Rules in words: what one waits for, asks and does, and what became of it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cli.answers import (
    Considered,
    DoneAction,
    Doubt,
    Evaluated,
    RuleSchema,
    RuleShown,
    SavedVersion,
    StarterShown,
)
from cli.explanation import SHOWN_HASH, plain
from shared.jsontext import dumps

DEFAULT_LIMIT = 1000
"""Firings an hour."""
MAX_VALUE = 60
"""Characters of a text that are shown."""


def listed(rule: RuleShown) -> list[str]:
    """One rule of many, with its whole id: several that were made at once begin alike."""
    return [plain(f"{rule.name}  ({rule.mode}, {rule.trigger})"), f"  {rule.id}"]


def described(rule: RuleShown) -> list[str]:
    about = [plain(rule.description)] if rule.description else []
    often = [f"at most {rule.hourly_limit:,} an hour"] if rule.hourly_limit != DEFAULT_LIMIT else []
    pause = f"once in {span(rule.cooldown)} per customer" if rule.cooldown else "no cooldown"
    return [
        plain(f"{rule.name}  ({rule.mode}, version {rule.version})"),
        f"  {rule.id}",
        *(f"  {part}" for part in about),
        f"  when  {plain(rule.trigger)}; {'; '.join([pause, *often])}",
        *_labelled("if", condition(rule.conditions) if rule.conditions else ["always"]),
        *_labelled("then", [action(it) for it in rule.actions]),
    ]


def _labelled(label: str, lines: Sequence[str]) -> list[str]:
    return [f"  {label if n == 0 else '':4}  {text}" for n, text in enumerate(lines)]


def span(seconds: int) -> str:
    """In the largest unit that it is a whole number of."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds % size == 0 and seconds:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def condition(given: Any) -> list[str]:
    """Nested ones are indented."""
    match given:
        case {"field": field, "operator": operator, "value": value}:
            return [plain(f"{field} {operator} {_value(value)}")]
        case {"all": list(parts)}:
            return _grouped("all of", parts)
        case {"any": list(parts)}:
            return _grouped("any of", parts)
        case {"not": inner}:
            return _grouped("not", [inner])
        case _:
            return [plain(dumps(given))]


def _grouped(word: str, parts: Sequence[Any]) -> list[str]:
    return [word, *(f"  {text}" for part in parts for text in condition(part))]


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return value if isinstance(value, str) else dumps(value)


def action(given: Mapping[str, Any]) -> str:
    """What is done, and to whom or with which words."""
    said = [
        f"{name} {_short(value)}" if name in {"to", "subject", "text", "reason", "timeout"} else _short(value)
        for name, value in given.items()
        if name not in {"type", "target_id", "secret", "headers"} and not (name == "timeout" and value == 10)
    ]
    headers = [f"headers {', '.join(given['headers'])}"] if given.get("headers") else []
    return plain(f"{given.get('type')} {'; '.join([*said, *headers])}").rstrip()


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else dumps(value)
    return f"{text[:MAX_VALUE]}…" if len(text) > MAX_VALUE else text


def secrets(rule: RuleShown) -> list[str]:
    """Those that were generated with this save."""
    return [
        f"The signing secret of {action(it)}, shown only now: {it['secret']}" for it in rule.actions if "secret" in it
    ]


def doubts(found: Iterable[Doubt], *, word: str, draft: Any = None) -> list[str]:
    """Each with its place, and with what stands there in the draft."""
    return [plain(f"{word} {it.pointer or '/'}{_there(draft, it.pointer)}: {it.message}") for it in found]


def _there(draft: Any, pointer: str) -> str:
    value = draft
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        match value:
            case Mapping() if key in value:
                value = value[key]
            case list() if key.isdigit() and int(key) < len(value):
                value = value[int(key)]
            case _:
                return ""
    return "" if value is draft or isinstance(value, dict | list) else f" ({_short(value)})"


def version(saved: SavedVersion) -> str:
    what = ", ".join(saved.changed) or "made"
    return plain(f"{saved.version:>4}  {saved.saved_at[:16]}  {saved.actor:20}  {what}").rstrip()


def evaluation(it: Evaluated, *, rule: str | None) -> list[str]:
    """`rule`: its name, where those of several are listed."""
    about = f"  {rule}" if rule else ""
    order = f"  order {it.order_id}" if it.order_id is not None else ""
    heading = f"{it.at[5:]}  {it.outcome:7}  {it.customer[:SHOWN_HASH]}{order}{about}"
    return [plain(heading), *_details(it.reason, it.values, it.actions)]


def considered(it: Considered) -> list[str]:
    heading = f"{it.at[5:]}  {it.outcome.replace('_', ' '):13}  {it.trigger}"
    return [plain(heading), *_details(it.reason, it.values, it.actions)]


def _details(reason: str, values: Mapping[str, Any], actions: Iterable[DoneAction]) -> list[str]:
    seen = "  ".join(f"{name} {_value(value) if value is not None else 'missing'}" for name, value in values.items())
    return [
        plain(f"  {reason}"),
        *([plain(f"  saw   {seen}")] if seen else []),
        *(plain(f"  did   {it.type}: {it.detail or it.status}") for it in actions),
    ]


def starter(one: StarterShown) -> list[str]:
    needs = f"  needs {' or '.join(one.needs)}" if one.needs else ""
    state = f"  installed as {one.rule_id}" if one.rule_id else needs
    return [plain(f"{one.key:28}{state}").rstrip(), plain(f"  {one.description}")]


def language(schema: RuleSchema) -> list[str]:
    """What a rule may wait for, ask and do."""
    return [
        "when",
        *(plain(f"  {it.name:28}{it.label}; knows {', '.join(it.groups)}") for it in schema.triggers),
        "if",
        *(plain(f"  {it.name:24}{it.group:10}{it.type:10}{' '.join(it.operators)}") for it in schema.fields),
        "then",
        *(plain(f"  {it.type:28}{it.label}") for it in schema.actions),
    ]
