"""Metrics of the dispatcher. Never labelled by endpoint: there may be any number of them."""

from prometheus_client import Counter, Gauge, Histogram

ATTEMPTS = Counter("trustlens_delivery_attempts_total", "Attempts, by the state they led to.", ["led_to"])
ATTEMPT_SECONDS = Histogram(
    "trustlens_delivery_attempt_seconds",
    "From the name's lookup to the end of the answer.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
EVENT_SECONDS = Histogram(
    "trustlens_delivery_event_seconds",
    "From the event to the answer that says it arrived; without what somebody asked for again.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 60, 300, 3600, 86400),
)
SUPPRESSED = Counter("trustlens_deliveries_suppressed_total", "Deliveries that were not sent, by the reason.", ["why"])
OLDEST_DUE = Gauge(
    "trustlens_oldest_due_age_seconds",
    "How long the oldest due delivery has waited, of endpoints that may be called. Rising: we do not keep up.",
)
PARKED = Gauge("trustlens_deliveries_parked", "Deliveries waiting for an endpoint that is down.")
