"""What is wrong with an input, in words that follow the name of the field."""

from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from shared.mistakes import SHOWN, mistakes


def _even(number: int) -> int:
    if number % 2:
        raise ValueError("Odd should not be here")
    return number


class Given(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    number: int = 0
    even: Annotated[int, AfterValidator(_even)] = 0
    text: Annotated[str, Field(min_length=1)] = "x"
    checked: Annotated[str, AfterValidator(str.strip), Field(min_length=1, max_length=3)] = "x"
    amount: Annotated[Decimal, Field(ge=0)] = Decimal(0)
    kind: Literal["one", "two"] = "one"
    items: Annotated[list[int], Field(max_length=1)] = []
    currency: Annotated[str, Field(pattern=r"^[A-Za-z]{3}$")] = "EUR"
    year: Annotated[str, Field(pattern=r"^[0-9]{4}$")] = "2026"
    pair: tuple[int, ...] = ()
    table: dict[str, int] = {}
    needed: int


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("shoe_size", 44, "is not known here"),
        ("number", "x", "should be a valid integer"),
        ("even", 3, "Odd should not be here"),
        ("text", "", "should have at least 1 character"),
        ("checked", " ", "should have at least 1 character"),
        ("checked", "four", "should have at most 3 characters"),
        ("amount", Decimal(-1), "should be greater than or equal to 0"),
        ("kind", "three", "should be 'one' or 'two'"),
        ("currency", "EURO", "must be three letters, as in EUR"),
        ("year", "x", "should match pattern '^[0-9]{4}$'"),
        ("pair", 7, "should be a list"),
        ("table", 7, "should be an object"),
        ("items", [1, 2], "should have at most 1 item"),
    ],
)
def test_a_mistake_follows_the_name_of_its_field(field: str, value: Any, told: str) -> None:
    assert found({"needed": 1, field: value}) == {field: told}


def test_what_is_missing_is_said_to_be_missing() -> None:
    assert found({}) == {"needed": "is missing"}


def test_only_so_many_are_told() -> None:
    assert len(found({"needed": 1} | {f"extra{n}": n for n in range(SHOWN + 5)})) == SHOWN


def found(given: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        Given.model_validate(given)
    return mistakes(caught.value)
