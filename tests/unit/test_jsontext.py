"""JSON text is what json.dumps writes, but for amounts."""

import json
from decimal import Decimal
from enum import IntEnum, StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.jsontext import dumps


class Word(StrEnum):
    QUOTED = 'a "word"'


class Number(IntEnum):
    TWO = 2


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
kinds = st.sampled_from([Word.QUOTED, Number.TWO])
values = st.recursive(
    plain | kinds, lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text() | kinds, inner)
)


@given(values)
def test_all_but_amounts_is_written_as_the_library_writes_it(value: object) -> None:
    assert dumps(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("amount", ["249.00", "0.10", "-5", "1E+2"])
def test_an_amount_keeps_its_digits(amount: str) -> None:
    assert dumps({"total": [Decimal(amount)]}) == f'{{"total":[{Decimal(amount):f}]}}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_what_json_has_no_word_for_is_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        dumps([value])
