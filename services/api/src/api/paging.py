"""Pages of a list in WordPress' manner: page, per_page, X-WP-Total, X-WP-TotalPages, Link."""

from collections.abc import Mapping
from dataclasses import dataclass

from yarl import URL

MAX_PER_PAGE = 100
MAX_PAGE = 1_000_000_000
"""Far past any end; its offset still fits Postgres' bigint."""


@dataclass(frozen=True, slots=True)
class Page:
    number: int = 1
    size: int = 10

    @property
    def offset(self) -> int:
        return (self.number - 1) * self.size


def total_pages(page: Page, total: int) -> int:
    return -(-total // page.size)


def links(page: Page, total: int) -> dict[str, int]:
    """Relation to page number: first and last where there is a page at all, prev and next where they exist."""
    last = total_pages(page, total)
    if last == 0:
        return {}
    relations = {"first": 1, "last": last}
    if page.number > 1:
        relations["prev"] = min(page.number - 1, last)
    if page.number < last:
        relations["next"] = page.number + 1
    return relations


def headers(page: Page, total: int, url: URL) -> Mapping[str, str]:
    """The paging headers of the answer to `url`, whose other parameters the links keep."""
    found = {"X-WP-Total": str(total), "X-WP-TotalPages": str(total_pages(page, total))}
    relations = links(page, total)
    if relations:
        found["Link"] = ", ".join(
            f'<{url.update_query(page=number)}>; rel="{relation}"' for relation, number in relations.items()
        )
    return found
