"""How an amount of money is written: in digits, whatever its size."""

from __future__ import annotations

from decimal import Decimal


def usd(amount: float, *, places: int = 0) -> str:
    """`$5`, `$0.064`, `$0.00001`: six significant digits, and never an exponent.

    :param places: decimals that are written at least; an amount too small for them has more
    """
    digits = Decimal(f"{amount:.{places}f}")
    if places == 0 or (digits == 0 and amount != 0):
        digits = Decimal(f"{amount:.6g}")
    return f"${digits:f}"
