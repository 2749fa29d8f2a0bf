"""How an amount of money is written: in digits, whatever its size."""

from __future__ import annotations

from decimal import Decimal


def usd(amount: float, *, places: int = 0) -> str:
    """`$5`, `$0.064`, `$0.00001`: six significant digits, and never an exponent.

    :param places: decimals that are written; an amount too small for them has two significant digits instead
    """
    if places == 0:
        return f"${Decimal(f'{amount:.6g}'):f}"
    digits = Decimal(f"{amount:.{places}f}")
    if digits == 0 and amount != 0:
        digits = Decimal(f"{amount:.2g}")
    return f"${digits:f}"
