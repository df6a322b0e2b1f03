"""Writes everybody in some segments, with addresses, into a CSV file that a mailing tool or a CRM imports every night.

    TRUSTLENS_API_URL=https://trustlens.example TRUSTLENS_API_KEY=tl_… python nightly_sync.py OUT.csv [SEGMENT…]

Without a segment: risk. It needs nothing but Python 3.10, and a key with the scopes read and pii. Who comes or goes
while it reads may be missed: it reads again while the totals disagree, and writes one row for each customer. What was
read is kept in OUT.csv.pages until the file is whole: started again within six hours, it goes on from there.
"""

import csv
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

COLUMNS = ("email", "email_hash", "segment", "trust_score", "is_blocked", "total_orders", "return_rate")
PER_PAGE = 100
ROUNDS = 3
TRIES = 8
LONGEST_WAIT = 300.0
STALE_AFTER = 6 * 3600
AWAY = {429, 500, 502, 503, 504}


class SameHost(urllib.request.HTTPRedirectHandler):
    """No redirect is followed: it would take the key along."""

    def redirect_request(self, *_: Any) -> None:
        return None


OPENER = urllib.request.build_opener(SameHost)


def main(out: Path, segments: list[str]) -> None:
    kept = out.with_name(out.name + ".pages")
    pages = read_pages(kept)
    with kept.open("a", encoding="utf-8") as file:
        for segment in segments:
            for number in range(1, ROUNDS + 1):
                if read_segment(segment, number, pages, file):
                    break
    write(out, [customer for page in pages.values() for customer in page["customers"]])
    kept.unlink()


def read_segment(segment: str, number: int, pages: dict[str, Any], file: Any) -> bool:
    """Every page that is not there yet; whether the total stayed the same from the first to the last."""
    page, totals = 1, []
    while True:
        name = f"{segment} {number} {page}"
        if name not in pages:
            customers, total, last = ask(segment, page)
            pages[name] = {"name": name, "customers": customers, "total": total, "last": last}
            file.write(json.dumps(pages[name]) + "\n")
            file.flush()
            os.fsync(file.fileno())
        totals.append(pages[name]["total"])
        if page >= pages[name]["last"]:
            return len(set(totals)) == 1
        page += 1


def read_pages(kept: Path) -> dict[str, Any]:
    """What an earlier run read, if that is not too long ago. Its last line may be broken off."""
    if not kept.exists():
        return {}
    if time.time() - kept.stat().st_mtime > STALE_AFTER:
        kept.unlink()
        return {}
    text = kept.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    kept.write_text(whole, encoding="utf-8")
    return {page["name"]: page for page in map(json.loads, whole.splitlines())}


def ask(segment: str, page: int) -> tuple[list[Any], int, int]:
    """The customers of a page, the number of all, and of the last page. Sorted so that newcomers come at the end."""
    query = {"segment": segment, "include": "email", "orderby": "created_at", "order": "asc"}
    paging = {"page": str(page), "per_page": str(PER_PAGE)}
    text, headers = get("/customers?" + urllib.parse.urlencode(query | paging))
    return json.loads(text), int(headers["X-WP-Total"]), int(headers["X-WP-TotalPages"])


def get(path: str) -> tuple[str, Any]:
    """Tries again while TrustLens is away or says that this is too much, as long as it asks us to wait."""
    url = os.environ["TRUSTLENS_API_URL"].rstrip("/") + "/wp-json/trustlens/v1" + path
    request = urllib.request.Request(url, headers={"X-TrustLens-API-Key": os.environ["TRUSTLENS_API_KEY"]})
    for attempt in range(TRIES):
        try:
            with OPENER.open(request, timeout=60) as answer:
                return answer.read().decode(), answer.headers
        except urllib.error.HTTPError as error:
            if error.code not in AWAY:
                sys.exit(f"TrustLens answered {error.code}: {error.read().decode(errors='replace')}")
            asked = error.headers.get("Retry-After", "")
        except (OSError, http.client.HTTPException):
            asked = ""
        time.sleep(min(float(asked) if asked.isdigit() else 2.0**attempt, LONGEST_WAIT))
    sys.exit("TrustLens does not answer. What was read is kept: start this again.")


def write(out: Path, customers: list[Any]) -> None:
    """In one step: whoever imports the file finds the old one or the new one. Who was erased has no address."""
    known = {customer["email_hash"]: customer for customer in customers if customer["email"]}
    whole = out.with_name(out.name + ".new")
    with whole.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({name: safe(value) for name, value in one.items()} for one in known.values())
    whole.replace(out)
    print(f"{len(known)} customers in {out}")


def safe(value: Any) -> Any:
    """A spreadsheet takes what begins so for a formula."""
    return "'" + value if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t")) else value


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:] or ["risk"])
