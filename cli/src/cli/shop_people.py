"""Who shops in the generated shop: made-up people, and how each kind of them behaves."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from cli.wc_order import Address, Billing

FIRST_NAMES = ("Ada", "Ben", "Carla", "Dev", "Elif", "Finn", "Greta", "Hugo", "Ines", "Jonas", "Kaya", "Noor", "Tara")
LAST_NAMES = ("Abbott", "Berger", "Castro", "Dahl", "Evans", "Holm", "Ito", "Jansen", "Novak", "Okafor", "Singh")
STREETS = ("Mill Lane", "Station Road", "Church Street", "Park Avenue", "Orchard Way", "Canal Side", "North Gate")
CITIES = (
    ("Leeds", "LS1 4AP", "GB"),
    ("Bristol", "BS1 5TR", "GB"),
    ("Glasgow", "G2 1DY", "GB"),
    ("Hamburg", "20095", "DE"),
    ("Lyon", "69002", "FR"),
    ("Utrecht", "3511", "NL"),
    ("Cork", "T12 X70A", "IE"),
)
MAIL_DOMAINS = ("mail.example", "post.example", "studio.example", "letters.example")
BROWSERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 15_6) AppleWebKit/605.1.15 Version/19.0 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Mozilla/5.0 (Android 16; Mobile; rv:145.0) Gecko/145.0 Firefox/145.0",
)
# Reserved for documentation (RFC 5737), so they are nobody's.
NETWORKS = ("192.0.2", "198.51.100", "203.0.113")


class Persona(StrEnum):
    LOYAL = "loyal"
    OCCASIONAL = "occasional"
    SERIAL_RETURNER = "serial returner"
    WARDROBER = "wardrober"
    NEW = "new"


@dataclass(frozen=True, slots=True)
class Habits:
    """Chances are per order; `joined` and `orders` are ranges, the former in days before now."""

    share: int  # of 100 customers
    joined: tuple[int, int]
    orders: tuple[int, int]
    basket: tuple[int, int]  # articles per order
    refunded: float
    in_full: float  # of the refunded orders
    cancelled: float
    coupon: float


HABITS = {
    Persona.LOYAL: Habits(17, (400, 545), (6, 10), (1, 4), 0.02, 0.3, 0.01, 0.15),
    Persona.OCCASIONAL: Habits(44, (40, 540), (2, 4), (1, 3), 0.14, 0.5, 0.04, 0.15),
    # A dozen orders and more, of which nearly all come back: ten refunds and more.
    Persona.SERIAL_RETURNER: Habits(5, (200, 540), (12, 16), (2, 5), 0.88, 0.35, 0.02, 0.3),
    Persona.WARDROBER: Habits(5, (120, 500), (5, 9), (1, 1), 0.85, 1.0, 0.0, 0.05),
    Persona.NEW: Habits(29, (1, 80), (1, 2), (1, 3), 0.05, 0.5, 0.06, 0.5),
}


@dataclass(frozen=True, slots=True)
class Shopper:
    """One customer. `account` 0 is a guest, whom only the e-mail address identifies."""

    persona: Persona
    account: int
    billing: Billing
    shipping: Address
    ip: str
    browser: str
    payment: str

    @property
    def habits(self) -> Habits:
        return HABITS[self.persona]


def personas(count: int) -> list[Persona]:
    """`count` personas in the proportions of their shares; the remainder is occasional."""
    exact = [persona for persona, habits in HABITS.items() for _ in range(count * habits.share // 100)]
    return exact + [Persona.OCCASIONAL] * (count - len(exact))


def shopper(number: int, persona: Persona, rng: Random) -> Shopper:
    """The same for the same number, persona and state of `rng`; numbers make e-mails and addresses unique."""
    first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
    home = _home(number, first, last, rng)
    email = f"{first}.{last}.{number}@{rng.choice(MAIL_DOMAINS)}"
    return Shopper(
        persona=persona,
        account=0 if rng.random() < 0.3 else 1000 + number,
        # Some people write their address in capitals; it is the same mailbox.
        billing=Billing(**home, email=email if rng.random() < 0.1 else email.lower()),
        shipping=home,
        ip=f"{NETWORKS[number // 250 % 3]}.{number % 250 + 1}",
        browser=rng.choice(BROWSERS),
        payment=rng.choice(("stripe", "stripe", "ppcp-gateway", "bacs")),
    )


def _home(number: int, first: str, last: str, rng: Random) -> Address:
    city, postcode, country = rng.choice(CITIES)
    return Address(
        first_name=first,
        last_name=last,
        company="",
        address_1=f"{number} {rng.choice(STREETS)}",
        address_2="",
        city=city,
        state="",
        postcode=postcode,
        country=country,
        phone=f"+44 7700 {900000 + number % 1000}",  # the range that Ofcom keeps for films
    )
