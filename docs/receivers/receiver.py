"""A receiver that needs nothing but Python 3.10: it verifies, keeps, answers, and works only then.

    TRUSTLENS_WEBHOOK_SECRET=… python receiver.py FOLDER PORT

FOLDER/inbox has a file per delivery, named by its id and empty once it was dealt with; FOLDER/customers has a file per
customer with what was last heard of it, by hash: no address is kept.
"""

import json
import os
import re
import sys
import tempfile
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from verify import verify_trustlens_webhook

LARGEST_BODY = 1_000_000
SECONDS_TO_SEND_IT = 10
KEPT_OF_A_CUSTOMER = ("trust_score", "segment", "is_blocked", "is_allowlisted")

_DELIVERY = re.compile(r"[0-9a-f-]{36}")  # these two become names of files and numbers, and are not signed
_SEQUENCE = re.compile(r"[0-9]{1,18}")
_HASH = re.compile(r"[0-9a-f]{64}")


class Inbox:
    """Deliveries that were answered for, each once, until they are dealt with: a process that dies loses none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "inbox"
        self._customers = folder / "customers"
        for path in (self._folder, self._customers):
            path.mkdir(parents=True, exist_ok=True)
        self._more = threading.Event()
        self._more.set()  # for what an earlier process left

    def keep(self, delivery: str, sequence: str, body: bytes) -> bool:
        """False if this delivery came before. The link is what decides, also between two that come at once."""
        with tempfile.NamedTemporaryFile(dir=self._folder.parent) as file:
            file.write(sequence.encode() + b"\n" + body)
            file.flush()
            try:
                os.link(file.name, self._folder / delivery)
            except FileExistsError:
                return False
        self._more.set()
        return True

    def work(self) -> None:
        """For ever, in a thread of its own. What fails is tried again when the next one comes."""
        while self._more.wait():
            self._more.clear()
            for path in [path for path in self._folder.iterdir() if path.stat().st_size]:
                try:
                    sequence, _, body = path.read_bytes().partition(b"\n")
                    self._handle(int(sequence), json.loads(body))
                    os.truncate(path, 0)  # its name is still needed, its content is not
                except Exception:  # one bad delivery must not stop the others
                    traceback.print_exc()

    def _handle(self, sequence: int, payload: dict[str, Any]) -> None:
        """Here is the slow part: call the CRM, open the ticket. If the process dies in it, it sees it again."""
        customer = payload["customer"]
        if payload["event"] != "test":
            self._keep_newest(customer, sequence)
        print(payload["event"], customer["email_hash"][:12], flush=True)

    def _keep_newest(self, customer: dict[str, Any], sequence: int) -> None:
        """Deliveries overtake each other: an older one must not undo a newer."""
        path = self._customers / f"{customer['email_hash']}.json"
        if path.exists() and json.loads(path.read_text())["sequence"] > sequence:
            return
        newest = {"sequence": sequence} | {name: customer[name] for name in KEPT_OF_A_CUSTOMER}
        whole = path.with_suffix(".new")
        whole.write_text(json.dumps(newest))
        whole.replace(path)


class Receiver(BaseHTTPRequestHandler):
    timeout = SECONDS_TO_SEND_IT
    inbox: Inbox
    secret: str

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,9}", length):
            return self._answer(411, "no length")
        if int(length) > LARGEST_BODY:
            return self._answer(413, "too large")
        body = self.rfile.read(int(length))
        if not self._is_genuine(body):
            return self._answer(401, "not signed by TrustLens")
        delivery, sequence = self._only("X-TrustLens-Delivery"), self._only("X-TrustLens-Sequence")
        if not _DELIVERY.fullmatch(delivery) or not _SEQUENCE.fullmatch(sequence) or not is_event(body):
            return self._answer(400, "not an event")
        return self._answer(200, "kept" if self.inbox.keep(delivery, sequence, body) else "known")

    def _is_genuine(self, body: bytes) -> bool:
        return verify_trustlens_webhook(
            body,
            self._only("X-TrustLens-Signature"),
            self._only("X-TrustLens-Timestamp"),
            self.secret,
            next_signature_header=self._only("X-TrustLens-Signature-Next"),
        )

    def _only(self, name: str) -> str:
        """The header's value; nothing if it is missing or comes twice."""
        values = self.headers.get_all(name, [])
        return values[0] if len(values) == 1 else ""

    def _answer(self, status: int, words: str) -> None:
        text = f"{words}\n".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def is_event(body: bytes) -> bool:
    try:
        payload = json.loads(body)
        return isinstance(payload["event"], str) and bool(_HASH.fullmatch(payload["customer"]["email_hash"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # the default of 5 lets a burst wait a second for its second try


if __name__ == "__main__":
    Receiver.inbox, Receiver.secret = Inbox(Path(sys.argv[1])), os.environ["TRUSTLENS_WEBHOOK_SECRET"]
    server = Server(("127.0.0.1", int(sys.argv[2])), Receiver)
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    threading.Thread(target=Receiver.inbox.work, daemon=True).start()
    server.serve_forever()
