"""Build the documentation's site below .site/. Every warning is an error, the warnings of the API pages too.

The generator has a strict mode, which does not see what griffe reports of docstrings. Run by `make docs`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_BUILD = ("build", "--strict", "--clean", "--config-file", "mkdocs.yml")
_WARNING = "griffe:"  # what a line of griffe begins with


def main() -> int:
    """Build, show what the generator says, and return the exit status."""
    generator = Path(sys.executable).with_name("zensical")
    built = subprocess.run([generator, *_BUILD], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(built.stdout, end="")
    warnings = sum(_WARNING in line for line in built.stdout.splitlines())
    if warnings:
        print(f"{warnings} warnings of docstrings. Correct the docstrings that they name.", file=sys.stderr)
    return built.returncode or int(warnings > 0)


if __name__ == "__main__":
    sys.exit(main())
