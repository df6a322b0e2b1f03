"""Metrics that every service has. Labels are names of queues, services, tasks, results and log events: bounded."""

from prometheus_client import Counter, Gauge, Histogram

MESSAGES = Counter("trustlens_messages_total", "Messages settled, by what became of them.", ["queue", "outcome"])
BATCH_SIZE = Histogram(
    "trustlens_batch_messages", "Messages per transaction.", ["queue"], buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500)
)
BATCH_SECONDS = Histogram("trustlens_batch_seconds", "From taking a batch to its ack.", ["queue"])
PARSE_SECONDS = Counter("trustlens_parse_seconds_total", "Time spent parsing messages.", ["queue"])
RETRIES = Counter("trustlens_batch_retries_total", "Batches tried again after a transient error.", ["queue"])
OUTBOX_PUBLISHED = Counter("trustlens_outbox_published_total", "Messages confirmed by the broker.", ["service"])
PUBLISH_SECONDS = Counter(
    "trustlens_outbox_publish_seconds_total", "From handing messages to the broker to their confirms.", ["service"]
)
OUTBOX_LAG = Gauge(
    "trustlens_outbox_lag_seconds",
    "How long the oldest message has been left that its own process did not publish. Rising: the broker is away.",
    ["service"],
)
OUTBOX_SWEPT = Counter("trustlens_outbox_swept_total", "Messages that the sweeper had to take up.", ["service"])
QUEUE_MESSAGES = Gauge(
    "trustlens_queue_messages", "Messages that lie in a queue and that no process has taken, as last seen.", ["queue"]
)
STEP_SECONDS = Gauge(
    "trustlens_step_seconds",
    "How long a main task has been at one step; 0 while it waits for something to do. Over 60: it hangs.",
    ["task"],
)
ERRORS = Counter("trustlens_errors_total", "Lines logged as errors, by event: a human is to look at each.", ["event"])
POSTGRES_ANSWERS = Gauge("trustlens_postgres_answers", "1 while Postgres answers the outbox' sweeper.", ["service"])
BROKER_CONNECTED = Gauge("trustlens_broker_connected", "1 while connected to RabbitMQ.", ["service"])
COMMANDS = Counter("trustlens_commands_total", "Commands by type and result.", ["type", "result"])
