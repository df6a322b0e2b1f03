"""Whether a condition can ever hold: an interval-and-set check over the values that its fields can have together.

What a condition tells apart of a field are the values that it names and the ranges between them. So each field is a
short list of samples, one of each range; each leaf is the set of samples for which it holds, as bits; and a tree is
searched for one choice of leaves whose sets have something in common. Scores are sampled whole, since segments follow
from them. Where a text is searched for parts, and where the search gets long, the answer is: it can.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain, pairwise
from typing import assert_never

from shared.conditions import All, AnyOf, Condition, Leaf, Not, Operator, compiled
from shared.events import LOWEST_SCORES, SEGMENTS, Segment
from shared.fields import CONTEXTS, SPECS, FieldSpec, Scalar, Value
from shared.misfits import leaves

MAX_STEPS = 4096
"""Parts looked at in one search before it gives up: beyond that nothing is said."""

Mask = int
"""Of a field's samples, by bit; the bit after them means: no value."""
Term = tuple[Condition, bool]
"""A condition, and whether it must hold or must not."""

SCORES = range(101)
DELTAS = range(-100, 101)
_SAMPLED_WHOLE: Mapping[str, range] = {"trust_score": SCORES, "old_score": SCORES, "score_delta": DELTAS}
_OTHER = "\0other"
"""A text that no condition can name."""

_SAME_IN_CHANGES = {"new_score": "trust_score", "new_segment": "segment"}
"""Events that tell of a change show the customer as it is after it."""
_FOLLOWING = ("trust_score", "segment", "old_score", "old_segment", "score_delta", "is_blocked", "is_allowlisted")
"""Of these, one says something of the others."""
_AT_MOST = (
    ("full_refunds", "total_refunds"),
    ("disputes_won", "total_disputes"),
    ("disputes_lost", "total_disputes"),
    ("first_order_coupons", "total_coupons_used"),
    ("coupon_then_refund", "total_coupons_used"),
)
"""The first counts some of what the second counts."""


def _leaf(name: str, operator: Operator, value: Scalar | tuple[Scalar, ...]) -> Leaf:
    return Leaf(field=name, operator=operator, value=value)


_PLACED = _leaf("order.status", "not_in", ("checkout-draft", "trash"))
IMPLIED: Mapping[str, tuple[Leaf, ...]] = {
    "customer_blocked": (_leaf("is_blocked", "=", value=True),),
    "customer_unblocked": (_leaf("is_blocked", "=", value=False),),
    "customer_allowlisted": (_leaf("is_allowlisted", "=", value=True),),
    "customer_allowlist_removed": (_leaf("is_allowlisted", "=", value=False),),
    "high_risk_order": (_leaf("segment", "in", ("risk", "critical")), _PLACED),
    "order_placed": (_PLACED,),
    "order_cancelled": (_leaf("order.status", "=", "cancelled"),),
    "chargeback_filed": (_leaf("dispute.status", "in", ("open", "under_review", "won", "lost")),),
    "chargeback_closed": (_leaf("dispute.status", "in", ("won", "lost")),),
    "linked_accounts_detected": (_leaf("linked_accounts_count", ">=", 1),),
}
"""What is so whenever the scorer makes such an event, beside segment_changed's change."""


@dataclass(frozen=True, slots=True)
class World:
    """What can be so when an event of one kind happens in one store."""

    trigger: str
    samples: Mapping[str, tuple[Value, ...]]
    """Of every field that the condition names, or that follows from one. Numbers rising."""
    leaves: Mapping[Leaf, tuple[str, Mask, Mask]]
    """Field, and the samples for which it holds, and for which it does not."""
    ranges: Mapping[str, Mask]
    """Segment to its scores."""

    def can(self, condition: Condition | None, *more: Condition, steps: int = MAX_STEPS) -> bool:
        """Whether all of these hold of some event. True where that is too long to find out."""
        wanted = [part for part in (condition, *more) if part is not None]
        return _Search(self, steps).holds([(part, True) for part in wanted])

    def must(self, condition: Condition, *, steps: int = MAX_STEPS) -> bool:
        """Whether it holds of every event. False where that is too long to find out."""
        return not _Search(self, steps).holds([(condition, False)])


def world(trigger: str, conditions: Iterable[Condition | None], lowest: Mapping[Segment, int] = LOWEST_SCORES) -> World:
    """For these conditions and parts of them. `lowest`: of each segment, the store's; Critical begins at 0."""
    named = [leaf for condition in conditions for _, leaf in leaves(condition)]
    every = list(dict.fromkeys([*named, *IMPLIED.get(trigger, ())]))
    names = dict.fromkeys((*_FOLLOWING, *(_name(leaf, trigger) for leaf in every)))
    samples = {name: _samples(SPECS[name], _constants(name, every, trigger)) for name in names}
    masks = {leaf: _masks(leaf, _name(leaf, trigger), samples) for leaf in every}
    return World(trigger, samples, masks, _ranges(lowest))


def _name(leaf: Leaf, trigger: str) -> str:
    return _SAME_IN_CHANGES.get(leaf.field, leaf.field) if "change" in CONTEXTS[trigger] else leaf.field


def _constants(name: str, every: Sequence[Leaf], trigger: str) -> list[Scalar]:
    """What conditions compare a field with, or compare one with that counts some of the same."""
    related = {name, *(other for pair in _AT_MOST if name in pair for other in pair)}
    values = [leaf.value for leaf in every if _name(leaf, trigger) in related]
    return [*chain.from_iterable(value if isinstance(value, tuple) else (value,) for value in values)]


def _samples(spec: FieldSpec, constants: Collection[Scalar]) -> tuple[Value, ...]:
    if spec.name in _SAMPLED_WHOLE:
        return tuple(_SAMPLED_WHOLE[spec.name])
    match spec.type:
        case "boolean":
            return (False, True)
        case "segment":
            return SEGMENTS
        case "integer" | "number":
            numbers = [number for number in constants if isinstance(number, int | Decimal)]
            return tuple(sorted(_between(spec, [Decimal(number) for number in numbers])))
        case "text":
            texts = dict.fromkeys(text for text in constants if isinstance(text, str))
            return spec.choices or (*texts, _OTHER)
        case "texts":
            return ((),)  # what it contains is followed apart
        case _:
            assert_never(spec.type)


def _between(spec: FieldSpec, constants: Sequence[Decimal]) -> set[Decimal]:
    """The constants, one number of each range between them, and the field's bounds."""
    bounds = [Decimal(bound) for bound in (spec.minimum, spec.maximum) if bound is not None]
    known = sorted({*constants, *bounds})
    near = {number + step for number in known for step in (-2, -1, 0, 1, 2)}  # two: beyond what it counts some of
    if spec.type == "number":
        near |= {(low + high) / 2 for low, high in pairwise(known)}
    whole = {Decimal(int(number)) for number in near}
    found = whole if spec.type == "integer" else near
    return {
        number
        for number in found
        if (spec.minimum is None or number >= spec.minimum) and (spec.maximum is None or number <= spec.maximum)
    }


def _masks(leaf: Leaf, name: str, samples: Mapping[str, tuple[Value, ...]]) -> tuple[str, Mask, Mask]:
    known = samples[name]
    if SPECS[name].type == "texts":
        return name, 1, 1
    against = compiled(leaf)
    met: Mask = sum(1 << n for n, value in enumerate(known) if against({leaf.field: value}) is None)
    unmet = _full(known) & ~met | (1 << len(known) if SPECS[name].missing else 0)
    if leaf.operator == "contains":  # a text that no condition names may contain it, or may not
        other = 1 << known.index(_OTHER)
        met, unmet = met | other, unmet | other
    return name, met, unmet


def _full(samples: Sequence[Value]) -> Mask:
    return (1 << len(samples)) - 1


def _ranges(lowest: Mapping[Segment, int]) -> dict[str, Mask]:
    """A segment's scores under the store's thresholds; and 50, where a customer begins as Normal whatever they are,
    and 100, where the allowlisted are VIP.
    """
    found: dict[str, Mask] = {}
    above = len(SCORES)
    for name in SEGMENTS:
        low = lowest.get(name, 0)
        found[name] = sum(1 << score for score in range(low, above))
        above = low
    found["normal"] |= 1 << 50
    found["vip"] |= 1 << 100
    return found


@dataclass(slots=True)
class _State:
    """What is asked of each field so far."""

    masks: dict[str, Mask] = field(default_factory=dict)
    parts: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)
    """Of a text or of tags: what it must contain, and what it must not."""

    def copy(self) -> "_State":
        return _State(dict(self.masks), dict(self.parts))


class _Search:
    """One search for an event. It ends with the first that is found, or with its last step."""

    def __init__(self, known: World, steps: int) -> None:
        self._world = known
        self._steps = steps
        self._fitting: dict[tuple[Mask | None, ...], bool] = {}
        """Whether scores and flags fit, by their masks: asked at every end of the search."""

    def holds(self, terms: Sequence[Term]) -> bool:
        implied = [(leaf, True) for leaf in IMPLIED.get(self._world.trigger, ())]
        return self._search(_State(), [*implied, *terms])

    def _search(self, state: _State, terms: list[Term]) -> bool:
        """Whether all terms can hold; `state` and `terms` are the search's own. Choices come last: most are spared."""
        choices: list[Sequence[Term]] = []
        while terms:
            self._steps -= 1
            if self._steps < 0:
                return True
            term = terms.pop()
            if isinstance(term[0], Leaf):
                if not self._meet(state, term[0], wanted=term[1]):
                    return False
            elif (parts := _parts(*term))[1]:
                terms += parts[0]
            else:
                choices.append(parts[0])
        if not choices:
            return self._together(state.masks)
        first, *others = sorted(choices, key=len)
        return any(self._search(state.copy(), [choice, *_again(others)]) for choice in first)

    def _together(self, masks: Mapping[str, Mask]) -> bool:
        """Whether what is left of each field can be so at once."""
        key = tuple(masks.get(name) for name in _FOLLOWING)
        if key not in self._fitting:
            self._fitting[key] = _flags_fit(self._world, masks)
        return self._fitting[key] and _counts_fit(self._world, masks)

    def _meet(self, state: _State, leaf: Leaf, *, wanted: bool) -> bool:
        """Ask one leaf more of the state; False: nothing is left."""
        name, met, unmet = self._world.leaves[leaf]
        known = self._world.samples[name]
        mask = state.masks.get(name, _all(name, known)) & (met if wanted else unmet)
        state.masks[name] = mask
        if leaf.operator == "contains" and isinstance(leaf.value, str):
            has, lacks = state.parts.get(name, (frozenset(), frozenset()))
            state.parts[name] = (has | {leaf.value}, lacks) if wanted else (has, lacks | {leaf.value})
        return mask != 0 and not self._contradicts(state, name, mask)

    def _contradicts(self, state: _State, name: str, mask: Mask) -> bool:
        """Whether only a text that no condition names is left, and must contain what it must not."""
        has, lacks = state.parts.get(name, (frozenset(), frozenset()))
        if SPECS[name].type == "texts":
            return bool(has & lacks)
        only_other = mask == 1 << len(self._world.samples[name]) - 1
        return only_other and any(lack in part for lack in lacks for part in has)


def _all(name: str, samples: Sequence[Value]) -> Mask:
    return _full(samples) | (1 << len(samples) if SPECS[name].missing else 0)


def _parts(condition: Condition, wanted: bool) -> tuple[list[Term], bool]:  # noqa: FBT001  # the two of a Term
    """What a condition is made of, and whether all of it is wanted, or one."""
    match condition:
        case Leaf():
            return [(condition, wanted)], True
        case All():
            return [(part, wanted) for part in condition.all], wanted
        case AnyOf():
            return [(part, wanted) for part in condition.any], not wanted
        case Not():
            return [(condition.not_, not wanted)], True
        case _:
            assert_never(condition)


def _again(choices: Sequence[Sequence[Term]]) -> Iterator[Term]:
    """Choices as terms: one of these must hold."""
    for choice in choices:
        parts = [part if wanted else Not.model_construct(not_=part) for part, wanted in choice]
        yield AnyOf.model_construct(any=tuple(parts)), True


def _counts_fit(known: World, masks: Mapping[str, Mask]) -> bool:
    for some, every in _AT_MOST:
        if some in masks and every in masks:
            least = (masks[some] & -masks[some]).bit_length() - 1
            most = masks[every].bit_length() - 1
            if known.samples[some][least] > known.samples[every][most]:  # type: ignore[operator]  # both are numbers
                return False
    return True


def _flags_fit(known: World, masks: Mapping[str, Mask]) -> bool:
    """Never both blocked and allowlisted; and the allowlisted are VIP with 100."""
    no, yes = 1, 2
    blocked, allowlisted = masks.get("is_blocked", no | yes), masks.get("is_allowlisted", no | yes)
    if allowlisted & no and _scores_fit(known, masks, allowlisted=False):
        return True
    return bool(allowlisted & yes and blocked & no) and _scores_fit(known, masks, allowlisted=True)


def _scores_fit(known: World, masks: Mapping[str, Mask], *, allowlisted: bool) -> bool:
    now = _scores(known, masks, "trust_score", "segment")
    if allowlisted:
        now = {"vip": now.get("vip", 0) & 1 << 100}
    before = _scores(known, masks, "old_score", "old_segment")
    if "change" not in CONTEXTS[known.trigger]:
        return any(now.values())
    deltas = masks.get("score_delta", (1 << len(DELTAS)) - 1)
    if deltas >> DELTAS.index(0) & 1 and _relabelled(masks, now):
        return True
    backwards = int(f"{deltas:0{len(DELTAS)}b}"[::-1], 2)  # bit n: the delta 100 - n
    must_differ = known.trigger == "segment_changed"
    return any(
        before_scores & (backwards >> (100 - score))
        for segment, scores in now.items()
        for old_segment, before_scores in before.items()
        if not (must_differ and old_segment == segment)
        for score in SCORES
        if scores >> score & 1
    )


def _relabelled(masks: Mapping[str, Mask], now: Mapping[str, Mask]) -> bool:
    """Whether the score can have stayed and the segment be another: new thresholds do that, and the old ones may have
    given it any.
    """
    old_scores, old_segments = (masks.get(name, -1) for name in ("old_score", "old_segment"))
    return any(
        scores & old_scores and old_segments >> n & 1
        for segment, scores in now.items()
        for n, old_segment in enumerate(SEGMENTS)
        if old_segment != segment
    )


def _scores(known: World, masks: Mapping[str, Mask], score: str, segment: str) -> dict[str, Mask]:
    """The scores that are left, by the segments that are left."""
    scores, segments = masks.get(score, (1 << len(SCORES)) - 1), masks.get(segment, (1 << len(SEGMENTS)) - 1)
    return {name: scores & known.ranges[name] for n, name in enumerate(SEGMENTS) if segments >> n & 1}
