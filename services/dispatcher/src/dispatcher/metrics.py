"""Metrics of the dispatcher. Never labelled by endpoint: there may be any number of them."""

from prometheus_client import Counter, Histogram

ATTEMPTS = Counter("trustlens_delivery_attempts_total", "Attempts, by the state they led to.", ["led_to"])
ATTEMPT_SECONDS = Histogram(
    "trustlens_delivery_attempt_seconds",
    "From the name's lookup to the end of the answer.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
