"""`python -m shared.probe PATH`: does the service here answer 200? For health checks, as images have no curl."""

import http.client
import os
import sys

SECONDS = 4.0
"""Below the 5 s that the images give it."""


def answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if answers(int(os.environ["TRUSTLENS_PORT"]), sys.argv[1]) else 1)
