"""Outages of endpoints, and of whatever else deliveries go to."""

NEXT_PROBE = "CASE WHEN b.opened_at IS NOT NULL THEN greatest(b.probe_at, b.slow_until) END"
"""Of a row `b` of dispatcher.breakers: who asked to be left alone is not probed before that is over."""
