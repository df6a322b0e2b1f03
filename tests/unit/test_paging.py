from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from api import paging
from api.paging import Page

LISTS = {"number": st.integers(1, 60), "size": st.integers(1, 100), "total": st.integers(0, 1000)}


@given(size=LISTS["size"], total=LISTS["total"])
def test_the_pages_of_a_list_hold_every_item_once(size: int, total: int) -> None:
    items = range(total)
    last = paging.total_pages(Page(1, size), total)

    pages = [items[(page := Page(number, size)).offset :][: page.size] for number in range(1, last + 1)]

    assert [item for page in pages for item in page] == list(items)
    assert all(pages)


@given(**LISTS)
def test_following_next_ends_at_last_and_following_prev_ends_at_first(number: int, size: int, total: int) -> None:
    relations = paging.links(Page(number, size), total)
    last = paging.total_pages(Page(number, size), total)

    if total == 0:
        assert relations == {}
    else:
        assert relations["first"] == 1
        assert relations["last"] == last
        assert relations.get("next") == (number + 1 if number < last else None)
        assert relations.get("prev") == (None if number == 1 else min(number - 1, last))


def test_links_keep_the_other_parameters() -> None:
    url = URL("https://trust.example/customers?segment=risk&page=2&per_page=5")

    headers = paging.headers(Page(2, 5), 11, url)

    assert headers["X-WP-Total"] == "11"
    assert headers["X-WP-TotalPages"] == "3"
    assert '<https://trust.example/customers?segment=risk&page=3&per_page=5>; rel="next"' in headers["Link"]


def test_an_empty_list_has_no_pages_and_no_links() -> None:
    assert paging.headers(Page(), 0, URL("https://trust.example/")) == {"X-WP-Total": "0", "X-WP-TotalPages": "0"}
