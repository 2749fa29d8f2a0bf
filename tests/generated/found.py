"""Cases that were found broken, smallest form; each a test of its own. Kinds of fault that are still open."""

from __future__ import annotations

KNOWN: frozenset[str] = frozenset()
