"""A figure beside its bar, in the same words in every benchmark: `0.072 (at most 0.4: met)`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure is measured against.

    :param at_most: whether less is better; otherwise more is
    """

    value: float
    at_most: bool = True

    def met(self, figure: float) -> bool:
        """Whether a figure reaches it."""
        return figure <= self.value if self.at_most else figure >= self.value

    def beside(self, figure: float, form: str = ".3g") -> str:
        """The figure, the bar, and whether it is met."""
        words = "at most" if self.at_most else "at least"
        return f"{figure:{form}} ({words} {self.value:{form}}: {'met' if self.met(figure) else 'MISSED'})"


def line(name: str, figure: float, bar: Bar, unit: str = "", form: str = ".3g") -> None:
    """Print one figure of a summary."""
    print(f"{name:66} {bar.beside(figure, form)} {unit}".rstrip(), flush=True)
