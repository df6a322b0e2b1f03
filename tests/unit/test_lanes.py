"""Who goes next, over any sequence of what may happen to lanes."""

from collections import deque
from itertools import count
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dispatcher.lanes import Lanes

CAP = 4
TARGETS = [UUID(int=n) for n in range(1, 3)]
lanes = st.sampled_from(TARGETS)


class AnyTraffic(RuleBasedStateMachine):
    """Against the simplest book-keeping: lists per target."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes: Lanes[int] = Lanes(CAP)
        self.taken = dict.fromkeys(TARGETS, 0)
        self.waiting: dict[UUID, deque[int]] = {target: deque() for target in TARGETS}
        self.flying = dict.fromkeys(TARGETS, 0)
        self.landed = dict.fromkeys(TARGETS, 0)
        self.caps = dict.fromkeys(TARGETS, CAP)
        self.numbers = count()

    def held(self, target: UUID) -> int:
        return self.taken[target] + len(self.waiting[target]) + self.flying[target] + self.landed[target]

    @rule(lane=lanes)
    def take(self, lane: UUID) -> None:
        got = self.lanes.take(lane)
        assert got == (self.held(lane) < 2 * self.caps[lane])
        self.taken[lane] += got

    @rule(lane=lanes)
    def put(self, lane: UUID) -> None:
        if self.taken[lane]:
            self.taken[lane] -= 1
            self.waiting[lane].append(number := next(self.numbers))
            self.lanes.put(lane, number)

    @rule(lane=lanes)
    def arrive(self, lane: UUID) -> None:
        self.take(lane)
        self.put(lane)

    @rule(lane=lanes)
    def give_back_unused(self, lane: UUID) -> None:
        if self.taken[lane]:
            self.taken[lane] -= 1
            self.lanes.give_back(lane)

    @rule()
    def start(self) -> None:
        started = self.lanes.next()
        may = [t for t in TARGETS if self.waiting[t] and self.flying[t] < self.caps[t]]
        assert (started is None) == (not may)
        if started:
            target, item = started
            assert target in may
            assert item == self.waiting[target].popleft(), "first in, first out"
            self.flying[target] += 1

    @precondition(lambda self: any(self.flying.values()))
    @rule(lane=lanes)
    def land(self, lane: UUID) -> None:
        if self.flying[lane]:
            self.lanes.landed(lane)
            self.flying[lane] -= 1
            self.landed[lane] += 1

    @rule(lane=lanes)
    def give_back_recorded(self, lane: UUID) -> None:
        if self.landed[lane]:
            self.landed[lane] -= 1
            self.lanes.give_back(lane)

    @rule(lane=lanes)
    def too_much(self, lane: UUID) -> None:
        self.lanes.narrow(lane)
        self.caps[lane] = max(self.caps[lane] // 2, 1)

    @rule(lane=lanes)
    def succeed(self, lane: UUID) -> None:
        self.lanes.widen(lane)
        self.caps[lane] = min(self.caps[lane] + 1, CAP)

    @rule()
    def clear(self) -> None:
        unstarted = sorted(number for waiting in self.waiting.values() for number in waiting)
        assert sorted(self.lanes.clear()) == unstarted
        for waiting in self.waiting.values():
            waiting.clear()

    @invariant()
    def a_lane_is_never_over_full(self) -> None:
        for target in TARGETS:
            assert self.lanes.free(target) == 2 * self.caps[target] - self.held(target)
            assert self.lanes.half_free(target) == (self.held(target) <= self.caps[target])
            assert self.held(target) <= 2 * CAP
            assert self.flying[target] <= CAP
            assert self.lanes.cap(target) == self.caps[target]


TestAnyTraffic = AnyTraffic.TestCase
TestAnyTraffic.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def fill(lanes: Lanes[str], target: UUID, *items: str) -> None:
    for item in items:
        assert lanes.take(target)
        lanes.put(target, item)


def test_targets_take_turns() -> None:
    lanes: Lanes[str] = Lanes(CAP)
    fill(lanes, TARGETS[0], "a1", "a2", "a3", "a4", "a5", "a6")
    fill(lanes, TARGETS[1], "b1", "b2")
    assert [started[1] for started in iter(lanes.next, None)] == ["a1", "b1", "a2", "b2", "a3", "a4"]


def test_a_pinned_target_has_one_in_flight_whatever_happens() -> None:
    lanes: Lanes[str] = Lanes(CAP)
    lanes.pin(TARGETS[0])
    fill(lanes, TARGETS[0], "a1", "a2")
    assert [started[1] for started in iter(lanes.next, None)] == ["a1"]
    for change in (lanes.widen, lanes.narrow):
        change(TARGETS[0])
        assert lanes.cap(TARGETS[0]) == 1
    lanes.landed(TARGETS[0])
    assert lanes.next() == (TARGETS[0], "a2")


def test_a_hung_target_holds_up_nobody_else() -> None:
    lanes: Lanes[str] = Lanes(1)
    fill(lanes, TARGETS[0], "hangs", "waits")
    assert lanes.next() == (TARGETS[0], "hangs")
    for n in range(100):
        fill(lanes, TARGETS[1], f"b{n}")
        assert lanes.next() == (TARGETS[1], f"b{n}")
        lanes.landed(TARGETS[1])
        lanes.give_back(TARGETS[1])
    assert lanes.next() is None


def test_idle_targets_leave_nothing_behind() -> None:
    lanes: Lanes[str] = Lanes(CAP)
    for n in range(50):
        fill(lanes, UUID(int=n), "once")
        lanes.next()
        lanes.landed(UUID(int=n))
        lanes.give_back(UUID(int=n))
    assert not any(vars(lanes)[name] for name in ("_held", "_in_flight", "_waiting", "_turns"))
