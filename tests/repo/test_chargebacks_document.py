"""docs/chargebacks.md says what is answered, and from where on it warns."""

import re

from api.chargebacks import ChargebackSettings, Ratio
from local_stack.folder import CHECKOUT
from shared.events import CARD_BRANDS

TEXT = (CHECKOUT / "docs" / "chargebacks.md").read_text()


def test_every_setting_has_its_row_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", TEXT.partition("## Levels")[2], re.MULTILINE))
    plain = ChargebackSettings()
    levels = {name: f"warn {found.warn}, limit {found.limit}" for name, found in plain if name != "min_disputes"}
    assert rows == {**levels, "min_disputes": str(plain.min_disputes)}


def test_every_field_and_brand_is_told() -> None:
    told = set(re.findall(r"`(\w+)`", TEXT))
    assert set(Ratio.model_fields) - told == {"month", "card_brand"} - told
    assert ", ".join(CARD_BRANDS) in re.sub(r"\s+", " ", TEXT)
