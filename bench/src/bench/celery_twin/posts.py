"""The dispatcher's posts as a Python team would otherwise write them: a Celery task that signs and posts by requests.

Stands alone: it runs in a virtual environment that has Celery and requests, and nothing of ours. `python posts.py
AMQP_URL QUEUE` reads a line of JSON for each post and sends it as a task; `celery --app posts worker` does them.
Nothing is decided, deduplicated or recorded; what is posted twice, or not at all when a worker dies, nobody knows.
"""

import hashlib
import hmac
import json
import os
import sys
import time

import requests  # type: ignore[import-untyped, import-not-found, unused-ignore]  # in that environment, not in ours
from celery import Celery  # type: ignore[import-untyped, import-not-found, unused-ignore]  # likewise

TIMEOUT = 10
app = Celery("posts", broker=os.environ.get("CELERY_AMQP_URL", ""))
app.conf.task_ignore_result = True
app.conf.task_default_queue = os.environ.get("CELERY_QUEUE", "celery")
session = requests.Session()  # of each worker process: its connections are kept


@app.task  # type: ignore[misc, untyped-decorator, unused-ignore]  # Celery has no types
def post(url: str, secret: str, headers: dict[str, str], body: str) -> None:
    timestamp, raw = str(int(time.time())), body.encode()
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + raw, hashlib.sha256).hexdigest()
    fresh = {"X-TrustLens-Timestamp": timestamp, "X-TrustLens-Signature": f"sha256={digest}"}
    session.post(url, data=raw, headers=headers | fresh, timeout=TIMEOUT).raise_for_status()


if __name__ == "__main__":
    for line in sys.stdin:
        post.delay(**json.loads(line))
