"""Money: integers of nano-dollars (1 USD = 1,000,000,000), and the one rounding rule: charges round up. Pure."""

import re
from decimal import ROUND_CEILING, Decimal

NANO = 1_000_000_000
_USD = re.compile(r"(-?)(\d{1,9})(?:\.(\d{1,9}))?")


class NotMoney(ValueError):
    """The text is no decimal number of US dollars with at most nine places."""


def usd(nano: int) -> str:
    """Nano-dollars as a decimal string of US dollars, without an exponent or trailing zeros: `9.998765432`."""
    sign = "-" if nano < 0 else ""
    whole, fraction = divmod(abs(nano), NANO)
    return f"{sign}{whole}.{fraction:09d}".rstrip("0").rstrip(".") if fraction else f"{sign}{whole}"


def parse_usd(text: str) -> int:
    """US dollars as people write them, such as `5` or `-0.000123`, in nano-dollars. Raises NotMoney."""
    match = _USD.fullmatch(text.strip())
    if match is None:
        raise NotMoney(f"{text!r} is not an amount in US dollars, such as 5 or 0.000123")
    sign, whole, fraction = match.groups()
    nano = int(whole) * NANO + int((fraction or "").ljust(9, "0"))
    return -nano if sign else nano


def round_up(amount: Decimal) -> int:
    """An amount in nano-dollars, rounded up to a whole one."""
    return int(amount.to_integral_value(rounding=ROUND_CEILING))


def per_million(total: int) -> int:
    """A charge from tokens times prices per million of them: rounded up to a whole nano-dollar, in integers."""
    return -(-total // 1_000_000)
