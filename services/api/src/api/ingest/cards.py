"""Of which network a card is, in whatever way gateways write it."""

from collections.abc import Mapping

from shared.events import CARD_BRANDS

_OTHERWISE: Mapping[str, str] = {
    "americanexpress": "amex",
    "cartebancaire": "cartes_bancaires",
    "cb": "cartes_bancaires",
    "chinaunionpay": "unionpay",
    "cup": "unionpay",
    "dinersclub": "diners",
    "dinersclubinternational": "diners",
    "disc": "discover",
    "mc": "mastercard",
    "visadebit": "visa",
    "visaelectron": "visa",
}
"""Letters and digits alone, lower case. Of gateways made on SkyVerge's framework: mc, disc, dinersclub; of cards' own
names: the others."""
_BRANDS = {**{"".join(filter(str.isalnum, brand)): brand for brand in CARD_BRANDS}, **_OTHERWISE}


def brand(name: str) -> str | None:
    """One of CARD_BRANDS, or None: a name of none of them counts as no name."""
    return _BRANDS.get("".join(filter(str.isalnum, name.casefold())))
