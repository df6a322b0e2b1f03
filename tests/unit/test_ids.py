"""Ids that sort by time, and ids that follow from what they identify."""

import time
from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID

from shared.ids import derived, derived_at, time_of, uuid7


def test_a_version_7_id_carries_its_millisecond() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid7()
    after = time.time_ns() // 1_000_000
    assert (made.version, made.variant) == (7, RFC_4122)
    assert before <= made.int >> 80 <= after


def test_version_7_ids_of_a_moment_differ() -> None:
    assert len({uuid7() for _ in range(10_000)}) == 10_000


def test_a_derived_id_is_the_sha_1_of_its_parts() -> None:
    # printf '\x6f\x0e\x6c\x0a\x5d\x0b\x4d\x5e\x9c\x5e\x7b\x1f\x0a\x4f\x9a\x10a/1' | openssl dgst -sha1
    # = 45a59d48b271 9 4c7 0 843da5f4b82825f…; version and variant written over the single digits (RFC 9562 §5.5)
    assert derived("a", 1) == UUID("45a59d48-b271-54c7-8843-da5f4b82825f")


def test_a_derived_id_tells_order_and_number_of_parts_apart() -> None:
    event, rule = uuid7(), uuid7()
    assert len({derived(event, rule), derived(rule, event), derived(event, rule, 0), derived(event, rule, 1)}) == 4


def test_an_id_of_a_time_carries_it_and_follows_from_its_parts() -> None:
    at = datetime(2026, 6, 5, 14, 23, 0, 5000, tzinfo=UTC)
    made = derived_at(at, "a", 1)

    assert (made.version, made.variant, time_of(made)) == (7, RFC_4122, at)
    assert len({made, derived_at(at, "a", 1)}) == 1
    assert len({made, derived_at(at, "a", 2), derived_at(at + timedelta(milliseconds=1), "a", 1)}) == 3
