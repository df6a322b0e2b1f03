"""What a store sells by, as wc/v3 writes it: in which categories a product is, how often one may use a coupon.

Lines of orders say neither.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.body import BadBodyError
from api.ingest.fields import Id, LooseText, LooseTime, ShortText, loose_text, nothing_is
from shared.events import Category, Coupon, Product
from shared.mistakes import mistakes

MAX_CODE = 100

M = TypeVar("M", bound=BaseModel)


class _Wc(BaseModel):
    """As wc/v3 writes it; what else it has is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Category(_Wc):
    slug: Annotated[ShortText, Field(min_length=1)]
    name: ShortText = ""


class WcProduct(_Wc):
    id: Id
    type: LooseText = ""
    date_modified_gmt: LooseTime = None
    categories: Annotated[tuple[_Category, ...], Field(max_length=100), nothing_is(tuple)] = ()


class WcCoupon(_Wc):
    id: Id
    code: Any = ""
    date_modified_gmt: LooseTime = None
    usage_limit_per_user: LooseText = ""


def coupon_code(value: Any) -> str:
    """Lower case, as WooCommerce compares them; "" for what is none, or too long to be one."""
    code = loose_text(value).lower()
    return code if len(code) <= MAX_CODE else ""


def product(given: WcProduct) -> Product:
    names = {category.slug: category.name or category.slug for category in reversed(given.categories)}
    return Product(id=given.id, categories=tuple(Category(slug=slug, name=names[slug]) for slug in sorted(names)))


def read_product(body: Mapping[str, Any]) -> tuple[Product, datetime | None] | None:
    """With when the store last changed it (None: it does not say). None: a variation.

    A variation has no categories of its own, and lines of orders name the product that it is one of.

    Raises:
        BadBodyError: it is no product; every bad field is named.
    """
    given = _read(WcProduct, body)
    return None if given.type == "variation" else (product(given), given.date_modified_gmt)


def read_coupon(body: Mapping[str, Any]) -> tuple[Coupon, datetime | None] | None:
    """As `read_product`. None: its code is none that an order could name."""
    given = _read(WcCoupon, body)
    code = coupon_code(given.code)
    return (Coupon(code=code, once=given.usage_limit_per_user == "1"), given.date_modified_gmt) if code else None


def _read(model: type[M], body: Mapping[str, Any]) -> M:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise BadBodyError(mistakes(error)) from None
