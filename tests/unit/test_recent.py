from api import recent
from api.recent import Recent


class Source:
    """Counts how often it is read; what it says changes each time."""

    def __init__(self) -> None:
        self.reads = 0

    async def read(self, key: str) -> str:
        self.reads += 1
        return f"{key}{self.reads}"


async def test_a_value_is_read_again_once_it_is_too_old() -> None:
    now, source = [0.0], Source()
    values = Recent(source.read, max_age=1, clock=lambda: now[0])

    assert [await values.get("a"), await values.get("a")] == ["a1", "a1"]
    now[0] = 0.999
    assert await values.get("a") == "a1"
    now[0] = 1.0
    assert await values.get("a") == "a2"


async def test_with_no_age_allowed_nothing_is_kept() -> None:
    source = Source()
    values = Recent(source.read, max_age=0, clock=lambda: 0.0)

    assert [await values.get("a"), await values.get("a")] == ["a1", "a2"]


async def test_made_up_keys_do_not_fill_the_memory() -> None:
    source = Source()
    values = Recent(source.read, max_age=1, clock=lambda: 0.0)

    for number in range(recent.MAX_ENTRIES + 1):
        await values.get(str(number))

    assert len(values._found) == 1


async def test_what_is_known_to_have_changed_is_read_again() -> None:
    source = Source()
    values = Recent(source.read, max_age=1, clock=lambda: 0.0)

    assert await values.get("a") == "a1"
    values.forget("a")
    values.forget("never read")
    assert await values.get("a") == "a2"
