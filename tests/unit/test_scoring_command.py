from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.answers import Job
from cli.api import refusal
from cli.jobs import ending, swept
from cli.scoring import flat, patch_of

ID = UUID("0190a000-0000-7000-8000-000000000000")


def test_dotted_keys_become_a_merge_patch():
    assert patch_of(["modules.returns.weight=0.5", "modules.returns.enabled=false", "min_orders=5"]) == {
        "modules": {"returns": {"weight": 0.5, "enabled": False}},
        "min_orders": 5,
    }


def test_a_value_is_json_or_else_text_and_may_hold_an_equals_sign():
    assert patch_of(["currency=EUR", "a=[1, 2]", "b=null", "c=x=y", "d="]) == {
        "currency": "EUR",
        "a": [1, 2],
        "b": None,
        "c": "x=y",
        "d": "",
    }


@pytest.mark.parametrize("words", [["min_orders"], ["=5"], ["a..b=5"], [".a=1"], ["a=1", "a=2"], ["a=1", "a.b=2"]])
def test_words_that_are_no_assignments_or_contradict_each_other_are_refused(words):
    with pytest.raises(ValueError, match=r"KEY=VALUE|twice|value already"):
        patch_of(words)


KEYS = st.text("abcdefgh_", min_size=1, max_size=5)
VALUES = st.none() | st.booleans() | st.integers(-1000, 1000) | st.text("xyz", min_size=1, max_size=5)


@given(
    st.recursive(
        st.dictionaries(KEYS, VALUES, min_size=1, max_size=3),
        lambda inner: st.dictionaries(KEYS, inner | VALUES, min_size=1, max_size=3),
        max_leaves=8,
    )
)
def test_what_show_prints_set_takes(settings):
    assert patch_of([f"{key}={value}" for key, value in flat(settings)]) == settings


def test_settings_keep_their_decimals():
    assert dict(flat({"modules": {"returns": {"weight": Decimal("1.50")}}})) == {"modules.returns.weight": "1.50"}


def refused(code: str, message: str = "A message.", **data: object) -> dict[str, object]:
    return {"code": code, "message": message, "data": data}


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        (401, refused("rest_forbidden"), "check TRUSTLENS_API_KEY"),
        (403, refused("rest_forbidden", "This API key lacks the scope admin."), "may not do this. This API key lacks"),
        (404, refused("rest_no_route"), "older than this command"),
        (404, refused("trustlens_job_not_found", "Job not found."), "Job not found."),
        (
            400,
            refused("rest_invalid_param", params={"min_orders": "must be at least 1"}),
            "min_orders must be at least",
        ),
        (503, refused("trustlens_no_answer", "No answer in time."), "cannot do this just now. No answer in time."),
        (502, None, "HTTP 502"),
        (500, ["surprise"], "HTTP 500"),
    ],
)
def test_what_the_api_refuses_becomes_one_sentence(status, answer, told):
    sentence = refusal(status, answer)
    assert told in sentence
    assert sentence.endswith(".")


def test_how_a_job_ended_is_said_with_its_reason():
    assert ending(Job(id=ID, kind="recompute", state="done", done=1200)) == "recompute is done: 1,200 customers."
    failed = Job(id=ID, kind="recompute", state="failed", done=3, total=9, error="no such\x1bthing")
    assert ending(failed) == "recompute failed after 3 of 9: no such?thing."


@pytest.mark.parametrize(("due", "told"), [(0, "no score"), (1, "1 customer is"), (1200, "1,200 customers are")])
def test_what_a_sweep_found_is_said_as_people_say_it(due, told):
    assert told in swept(due)
