"""The options of the package's commands: an unknown one is an error with the nearest option.

`argparse` reports missing options first. So it would report `--input` as missing and not `--input-path` as unknown.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from typing import Any


class OptionParser(argparse.ArgumentParser):
    """`argparse`'s parser, with better errors for options that do not exist."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As `argparse`'s."""
        given = list(sys.argv[1:] if args is None else args)
        for text in given:
            if text == "--":
                break
            name = text.partition("=")[0]
            if text.startswith("--") and " " not in text and not self._is_option(name):
                self.error(f"unknown option {name}.{self._hint(name)}")
        return super().parse_known_args(given, namespace)

    def _is_option(self, name: str) -> bool:
        """Also where the name is cut, which `argparse` accepts."""
        return any(
            each == name or (self.allow_abbrev and each.startswith(name)) for each in self._option_string_actions
        )

    def _hint(self, name: str) -> str:
        known = sorted(self._option_string_actions)
        shorter = [each for each in known if name.startswith(f"{each}-")]  # `--input` is nearer than `--input-format`
        near = shorter or difflib.get_close_matches(name, known, n=1)
        return f" Did you mean {near[0]}?" if near else " --help lists the options."
