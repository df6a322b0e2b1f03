"""The JSON Schemas of what other services validate, made from their own models, for the api's description of itself.

`python -m support.owned_schemas`, in tests/, writes them where the api reads them.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from api.openapi import Schemas
from dispatcher.commands import _Rotation
from dispatcher.endpoints import NewEndpoint
from dispatcher.replay import Replay
from rule_engine.commands import _Restoration
from rule_engine.rules import READ_ONLY, NewRule
from rule_engine.starters import Install
from rule_engine.trials import AskedBacktest, AskedTest, _GivenEvent
from scorer.scoring import Modules, Scoring

FILE = Path(__file__).parents[2] / "services/api/src/api/owned.json"
REFERENCE = "#/components/schemas/{model}"

Schema = dict[str, Any]

_MODELS: tuple[type[BaseModel], ...] = (
    NewEndpoint,
    _Rotation,
    Replay,
    NewRule,
    _Restoration,
    Install,
    AskedTest,
    AskedBacktest,
)


def made() -> dict[str, Schema]:
    """By the name under which the api tells them, with those that they refer to."""
    defined = _schemas(*_MODELS)
    webhook, rule = defined.pop("NewEndpoint"), defined.pop("NewRule")
    bodies = {
        "NewWebhook": told("An endpoint as it is made.", webhook),
        "WebhookChange": told("The fields to change.", partial(without(webhook, ["secret"]))),
        "SecretRotation": told("A next secret, or none to have one made.", without(defined.pop("Rotation"), ["id"])),
        "Replay": told("Which deliveries to make once more.", defined.pop("Replay")),
        "NewRule": told("A rule as it is made.", rule),
        "ShownRule": told("All of a rule; it may be one as it is shown, edited.", shown(rule)),
        "AnyRule": {"description": "What may become a rule.", "anyOf": [reference("ShownRule"), {"type": "object"}]},
        "RuleChange": told("The fields to change.", partial(shown(rule))),
        "RuleRestoration": told("Which version is to come back.", without(defined.pop("Restoration"), ["id"])),
        "StartersChosen": told("Which starters, and where their actions go.", defined.pop("Install")),
    }
    return {**defined, **_scoring(), **bodies, **_tried_event()}


def _tried_event() -> dict[str, Schema]:
    """Its parts know their fields alone, and its customer need not be anybody."""
    made = {name: {**schema, "additionalProperties": False} for name, schema in _schemas(_GivenEvent).items()}
    made["Snapshot"]["required"].remove("email_hash")
    return {**made, "RuleTestEvent": told("An event as it might happen.", made.pop("GivenEvent"))}


def _schemas(*models: type[BaseModel]) -> dict[str, Schema]:
    asked: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in models]
    made = models_json_schema(asked, ref_template=REFERENCE, schema_generator=Schemas)
    return dict(made[1]["$defs"])


def _scoring() -> dict[str, Schema]:
    """Each field may be null, for its default."""
    text = json.dumps(_schemas(Scoring))
    for module in ("account_age", *Modules.model_fields, "shipping"):
        text = text.replace(f"scorer__modules__{module}__Settings", f"{module.title().replace('_', '')}Settings")
    return {name: nullable(schema) for name, schema in json.loads(text).items()}


def reference(name: str) -> Schema:
    return {"$ref": REFERENCE.format(model=name)}


def told(description: str, schema: Schema) -> Schema:
    return {**schema, "description": description}


def without(schema: Schema, names: Iterable[str]) -> Schema:
    left = {name: of for name, of in schema["properties"].items() if name not in names}
    required = [name for name in schema.get("required", []) if name not in names]
    return {**schema, "properties": left, "required": required}


def partial(schema: Schema) -> Schema:
    """What is not given stays as it is, so nothing is required and nothing has a default."""
    fields = {name: {key: v for key, v in of.items() if key != "default"} for name, of in schema["properties"].items()}
    return {**schema, "properties": fields, "required": []}


def shown(schema: Schema) -> Schema:
    """What is shown may come back."""
    return {**schema, "properties": {**schema["properties"], **{name: {"readOnly": True} for name in READ_ONLY}}}


def nullable(schema: Schema) -> Schema:
    """As a patch of it: null for what goes back to its default, and for an entry of a mapping that goes."""
    fields = {name: or_null(_without_entries(of)) for name, of in schema["properties"].items()}
    return {**schema, "properties": fields}


def _without_entries(schema: Schema) -> Schema:
    """Of a mapping. An entry that goes may have any name: of one that is not there, nothing is left to do."""
    if not (entries := [*schema.get("patternProperties", {}).values()]):
        return schema
    left = {name: of for name, of in schema.items() if name not in {"patternProperties", "propertyNames"}}
    return {**left, "additionalProperties": or_null(entries[0])}


def or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def text() -> str:
    return json.dumps(made(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
