"""What the timeline may be asked for is what the scorer writes on it."""

from typing import get_args

from api.schemas import TimelineType
from scorer.changes import _OF_EVENTS, _TIMELINE_NAMES
from scorer.facts import HappeningType


def test_every_type_that_the_scorer_writes_can_be_filtered_by_and_no_other():
    happened = {_TIMELINE_NAMES.get(name, name) for name in get_args(HappeningType)}
    assert set(get_args(TimelineType)) == happened | _OF_EVENTS | {"automation_triggered", "tag_added"}
