"""docs/gate.md says what the gate does: its settings, and the rule for shops that have not installed it."""

import json
import re
from typing import Any

from api.gate import GateSettings
from api.settings import ApiSettings
from local_stack.folder import CHECKOUT
from rule_engine.validate import Shop, read
from shared.targets import Reach

TEXT = (CHECKOUT / "docs" / "gate.md").read_text()


def test_every_setting_has_its_row_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", TEXT.partition("## Settings")[2], re.MULTILINE))

    assert rows == {name: _written(value) for name, value in GateSettings().model_dump().items()}


def _written(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return ", ".join(value) or "none"
        case _:
            return str(value)


def test_the_rule_for_shops_without_the_gate_cancels_every_order_and_nothing_else_is_doubtful_about_it() -> None:
    found = re.search(r"\$API/rules -d '(.*?)'", TEXT, re.DOTALL)
    assert found

    rule, report = read(json.loads(found[1]), Reach(), Shop())

    assert rule
    assert not report.errors
    assert [doubt.message for doubt in report.warnings] == [
        "without a cooldown, cancel_order is done at every order_placed"
    ]


def test_the_settings_of_the_services_that_it_names_exist() -> None:
    for name in set(re.findall(r"TRUSTLENS_([A-Z_]+)`", TEXT)):
        assert name.lower() in ApiSettings.model_fields
