"""Metrics of the dispatcher. Never labelled by endpoint: there may be any number of them."""

from prometheus_client import Counter, Gauge, Histogram

ATTEMPTS = Counter(
    "trustlens_delivery_attempts_total",
    "Attempts, by how they were answered (2xx to 5xx, the phase they failed in, none) and the state they led to.",
    ["answer", "led_to"],
)
ATTEMPT_SECONDS = Histogram(
    "trustlens_delivery_attempt_seconds",
    "From the name's lookup to the end of the answer.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
EVENT_SECONDS = Histogram(
    "trustlens_event_to_attempt_seconds",
    "From the event to its first attempt: how quick we are. Without what waited for an endpoint that was down.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
SUPPRESSED = Counter("trustlens_deliveries_suppressed_total", "Deliveries that were not sent, by the reason.", ["why"])
OLDEST_DUE = Gauge(
    "trustlens_oldest_due_age_seconds",
    "How long the oldest due delivery has waited, of endpoints that may be called. Rising: we do not keep up.",
)
IN_FLIGHT = Gauge("trustlens_deliveries_in_flight", "Attempts under way in this process.")
GIVEN_UP = Counter("trustlens_deliveries_given_up_total", "Deliveries whose endpoint was down for too long.")
PARKED = Gauge("trustlens_deliveries_parked", "Deliveries waiting for an endpoint that is down.")
