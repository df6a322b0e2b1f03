"""What a store may set, and what of it is stored."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scorer.scoring import Modules, Scoring, merged
from support.features import MODULES

DEFAULTS = Scoring().model_dump(mode="json")


def test_the_defaults_are_those_of_the_table() -> None:
    assert DEFAULTS == {
        "min_orders": 3,
        "segments": {"vip": 90, "trusted": 70, "normal": 50, "caution": 40, "risk": 20},
        "modules": {
            "returns": {
                "enabled": True,
                "weight": 1.0,
                "rate_tiers": [60, 40, 25],
                "low_rate": 5,
                "low_rate_orders": 5,
                "wardrobing_share": 90,
                "wardrobing_refunds": 3,
                "many_refunds": 10,
            },
            "orders": {
                "enabled": True,
                "weight": 1.0,
                "clean_tiers": [10, 5, 3],
                "net_value": 1000,
                "cancellation_rate": 40,
                "cancellations": 3,
            },
            "coupons": {
                "enabled": True,
                "weight": 1.0,
                "cycle_tiers": [3, 2, 1],
                "max_first_order_coupons": 2,
                "first_order_patterns": ["welcome*", "first*"],
                "stacked_coupons": 3,
                "stacked_orders": 2,
            },
            "categories": {
                "enabled": True,
                "weight": 1.0,
                "high_rate": 50,
                "raised_rate": 30,
                "category_weights": {},
            },
            "linked_accounts": {"enabled": True, "weight": 1.0, "link_tiers": [3, 2, 1]},
            "shipping_anomalies": {"enabled": True, "weight": 1.0, "address_tiers": [5, 3]},
            "chargebacks": {"enabled": True, "weight": 1.0},
            "card_testing": {"enabled": True, "weight": 1.0},
            "account_age": {"enabled": True, "weight": 1.0, "day_tiers": [365, 180, 90]},
        },
    }
    assert tuple(Modules.model_fields) == MODULES


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_orders": 0},
        {"min_orders": 101},
        {"min_orders": True},
        {"min_orders": "3"},
        {"segments": {"vip": 101}},
        {"segments": {"risk": 0}},
        {"segments": {"vip": 70}},
        {"segments": {"caution": 20}},
        {"segments": {"critical": 10}},
        {"segments": {"vip": 90.5}},
        {"modules": {"returns": {"weight": 3.1}}},
        {"modules": {"returns": {"weight": -1}}},
        {"modules": {"returns": {"weight": float("nan")}}},
        {"modules": {"returns": {"enabled": 1}}},
        {"modules": {"returns": {"rate_tiers": [60, 60, 25]}}},
        {"modules": {"returns": {"rate_tiers": [60, 40]}}},
        {"modules": {"returns": {"rate_tiers": ["60", 40, 25]}}},
        {"modules": {"returns": {"low_rate": 25}}},
        {"modules": {"orders": {"clean_tiers": [3, 5, 10]}}},
        {"modules": {"orders": {"net_value": 0}}},
        {"modules": {"coupons": {"first_order_patterns": [""]}}},
        {"modules": {"coupons": {"first_order_patterns": ["a" * 51]}}},
        {"modules": {"coupons": {"first_order_patterns": ["a"] * 21}}},
        {"modules": {"categories": {"category_weights": {"shoes": 4}}}},
        {"modules": {"categories": {"raised_rate": 50}}},
        {"modules": {"shipping_anomalies": {"address_tiers": [5, 1]}}},
        {"modules": {"account_age": {"day_tiers": [90, 180, 365]}}},
        {"modules": {"shipping": {}}},
        {"modules": {"chargebacks": {"points": -5}}},
        {"colour": "red"},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Scoring.model_validate(wrong)


def test_lists_and_whole_numbers_are_taken_as_json_has_them() -> None:
    given_ = {"returns": {"weight": 2, "rate_tiers": [70, 50.5, 30]}, "categories": {"category_weights": {"shoes": 2}}}
    modules = Scoring.model_validate({"modules": given_}).modules
    assert list(modules.returns.rate_tiers) == [70, 50.5, 30]
    assert modules.categories.category_weights == {"shoes": 2}


def test_a_patch_is_merged_part_by_part_and_null_goes_back() -> None:
    first = merged({}, {"min_orders": 5, "modules": {"returns": {"weight": 2.0, "many_refunds": 20}}})
    assert first == {"min_orders": 5, "modules": {"returns": {"weight": 2.0, "many_refunds": 20}}}
    second = merged(first, {"min_orders": None, "modules": {"returns": {"weight": None}, "orders": {"weight": 0}}})
    assert second == {"modules": {"returns": {"many_refunds": 20}, "orders": {"weight": 0}}}
    assert merged(second, {"modules": None}) == {}


def test_only_what_differs_from_the_defaults_is_stored() -> None:
    assert merged({}, DEFAULTS) == {}
    assert merged({"min_orders": 5}, {"min_orders": 3}) == {}
    assert merged({"modules": {"returns": {"weight": 2.0}}}, {"modules": {"returns": {"weight": 1}}}) == {}


def test_weights_by_category_are_merged_name_by_name() -> None:
    def weights(of: Mapping[str, Any]) -> dict[str, Any]:
        return {"modules": {"categories": {"category_weights": of}}}

    assert merged(weights({"shoes": 2, "hats": 0}), weights({"hats": None, "bags": 1.5, "no": None})) == weights(
        {"shoes": 2, "bags": 1.5}
    )
    assert merged(weights({"shoes": 2}), weights({"shoes": None})) == {}


@pytest.mark.parametrize(
    "patch",
    [
        {"colour": None},
        {"colour": {}},
        {"modules": {"retruns": None}},
        {"modules": {"returns": 5}},
        {"modules": 5},
        {"min_orders": {"a": 1}},
        {"modules": {"categories": {"category_weights": {"shoes": {}}}}},
        {"modules": {"returns": {"enabled": 1}}},
    ],
)
def test_what_is_not_known_stays_to_be_refused(patch: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Scoring.model_validate(merged({}, patch))


def test_what_is_stored_is_not_touched_by_a_merge() -> None:
    stored = {"modules": {"returns": {"weight": 2.0}}}
    merged(stored, {"modules": {"returns": {"weight": 0.5}}})
    assert stored == {"modules": {"returns": {"weight": 2.0}}}


patches = st.fixed_dictionaries(
    {},
    optional={
        "min_orders": st.none() | st.integers(1, 100),
        "segments": st.none() | st.fixed_dictionaries({}, optional={"vip": st.none() | st.integers(71, 100)}),
        "modules": st.none()
        | st.dictionaries(
            st.sampled_from(MODULES),
            st.none()
            | st.fixed_dictionaries(
                {}, optional={"enabled": st.none() | st.booleans(), "weight": st.none() | st.sampled_from([0, 1, 2.5])}
            ),
        ),
    },
)


def patched(target: Mapping[str, Any], patch: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The oracle: RFC 7396 on the whole settings, where removing is putting the default."""
    result = dict(target)
    for name, value in patch.items():
        if value is None:
            result[name] = defaults[name]
        else:
            result[name] = patched(target[name], value, defaults[name]) if isinstance(value, dict) else value
    return result


@given(st.lists(patches, max_size=4))
def test_merging_what_differs_is_merging_the_whole(several: list[dict[str, Any]]) -> None:
    stored: dict[str, Any] = {}
    whole = DEFAULTS
    for patch in several:
        stored, whole = merged(stored, patch), patched(whole, patch, DEFAULTS)
        assert merged(stored, patch) == stored
    scoring = Scoring.model_validate(stored)
    assert scoring == Scoring.model_validate(whole)
    assert scoring.model_dump(mode="json", exclude_defaults=True) == stored
