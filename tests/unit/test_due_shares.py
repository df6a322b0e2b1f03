"""How the deliveries that one look takes up are shared among targets."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.due import AT_ONCE, shares

rooms = st.dictionaries(st.integers(0, 10_000).map(lambda n: UUID(int=n)), st.integers(1, 32), max_size=500)


@given(rooms)
def test_one_look_takes_up_no_more_than_its_limit_and_never_more_than_fits(free: dict[UUID, int]):
    shared = shares(free)
    assert sum(shared.values()) <= AT_ONCE
    assert all(1 <= shared[target] <= room for target, room in free.items())


@given(rooms)
def test_where_all_fits_into_one_look_nobody_gets_less(free: dict[UUID, int]):
    if len(free) * max(free.values(), default=0) <= AT_ONCE:
        assert shares(free) == free


def test_with_more_targets_than_the_limit_each_still_gets_one():
    free = {UUID(int=number): 32 for number in range(AT_ONCE + 1)}
    assert set(shares(free).values()) == {1}
