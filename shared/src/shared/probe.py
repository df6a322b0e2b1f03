"""`python -m shared.probe PATH …`: does the service here answer 200 to each? For health checks: images have no curl."""

import http.client
import os
import sys

SECONDS = 4.0
"""For each; below the 5 s that the images give it for one."""


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
    port = int(os.environ["TRUSTLENS_PORT"])
    sys.exit(0 if all(answers(port, path) for path in sys.argv[1:]) else 1)
