"""How many steps Python's regular expressions take for a pattern, at most, for each character of a text. Pure.

The rule is narrow, because it has to be right: one repetition without end, behind `^`, and no repeated group. Most
patterns of dates, codes and names are so. Of any other pattern nothing is known.
"""

from __future__ import annotations

import re

#: One character, or a place between two of them. Neither a backreference nor a group.
_ATOM = re.compile(r"\\[^\d]|\[\^?\]?(?:\\.|[^\]\\])*\]|[^\\\[\](){}*+?|]")
_REPEATED = re.compile(r"(?:([*+?])|\{(\d+)(?:(,)(\d*))?\})[?+]?")
_GROUP = re.compile(r"\((?:\?:)?(?!\?)")
#: Ways to match that a pattern may leave open.
_MOST_WAYS = 1000


def steps_of(pattern: str) -> int | None:
    """The steps for each character of a text; None where that is not known."""
    endless, ways, depth, at = 0, 1, 0, 0
    while at < len(pattern):
        if group := _GROUP.match(pattern, at):
            depth, at = depth + 1, group.end()
        elif pattern[at] == ")":
            depth, at = depth - 1, at + 1
            if _REPEATED.match(pattern, at):
                return None
        elif pattern[at] == "|":
            # Behind a `|` the `^` at the beginning counts no more.
            endless, ways, at = endless + 2 * (depth == 0), ways + 1, at + 1
        elif atom := _ATOM.match(pattern, at):
            at = atom.end()
            if found := _REPEATED.match(pattern, at):
                at = found.end()
                more = _ways_of(found)
                endless, ways = endless + (more is None), ways * (more or 1)
        else:
            return None
        if ways > _MOST_WAYS:
            return None
    bounded = endless == 0 or (endless == 1 and pattern.startswith("^"))
    return ways if bounded else None


def _ways_of(repeated: re.Match[str]) -> int | None:
    """How many lengths a repetition may have; None for any."""
    sign, fewest, comma, most = repeated.groups()
    if sign is not None:
        return 2 if sign == "?" else None
    if comma is None:
        return 1
    return int(most) - int(fewest or 0) + 1 if most else None
