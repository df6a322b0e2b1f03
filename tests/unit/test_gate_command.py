"""`trustlens gate`: what an operator reads at 2 a.m."""

from typing import Any

import pytest
from typer.testing import CliRunner

from cli.gate import app, history, told

FROZEN = {
    "frozen": True,
    "frozen_at": "2026-06-01 02:00:00",
    "frozen_until": "2026-06-01 02:15:00",
    "reason": "3 devices were locked out within ten minutes",
    "by": "escalation",
}


def attacks(**more: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"since": "2026-06-01 00:00:00", "frozen_until": None, "hours": []}
    return known | {"reasons": [], "codes": [], "countries": [], "fingerprints": []} | more


def test_a_freeze_is_told_with_its_end_its_cause_and_the_way_out():
    assert told({"frozen": False}) == "The checkout is not frozen."
    assert told(FROZEN) == (
        "The checkout is frozen until 2026-06-01 02:15:00 UTC (since 2026-06-01 02:00:00 UTC, by escalation:"
        " 3 devices were locked out within ten minutes).\nEnd it: trustlens gate unfreeze"
    )


def test_an_attack_is_told_by_hour_reason_code_country_and_device():
    sums = {"declined": 3, "refused": 20, "lockouts": 1}
    found = attacks(
        frozen_until="2026-06-01 02:15:00",
        hours=[{"hour": "2026-06-01 02:00:00", **sums}],
        reasons=[{"name": "lockout", "count": 20}],
        codes=[{"name": "\x1b[31m", "count": 2}, {"name": "", "count": 1}],
        countries=[{"name": "GB", "count": 3}],
        fingerprints=[{"fingerprint": "06ab", "last_at": "2026-06-01 02:01:00", **sums}],
    )

    assert history(found) == [
        "The checkout is frozen until 2026-06-01 02:15:00 UTC.",
        "2026-06-01 02:00:00  3 declined, 20 refused, 1 lockout",
        "refused: lockout 20",
        "declined: ?[31m 2, not told 1",
        "countries: GB 3",
        "device 06ab  3 declined, 20 refused, 1 lockout, last 2026-06-01 02:01:00",
    ]
    assert history(attacks()) == ["Nothing was declined or refused since 2026-06-01 00:00:00 UTC."]


@pytest.mark.parametrize(
    "words", [["freeze", "--minutes", "0"], ["freeze", "--minutes", "1441"], ["attacks", "--hours", "0"]]
)
def test_what_cannot_be_asked_is_refused_before_anything_is(words: list[str]):
    assert CliRunner().invoke(app, words).exit_code == 2
