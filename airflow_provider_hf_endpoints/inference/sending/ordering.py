"""The sending order in a window of rows: common beginnings together, and at the end long rows first. No I/O.

vLLM and SGLang cache the beginning of a prompt. The next prompt with the same beginning uses the cache if that prompt
comes soon. llama.cpp has a cache in each slot: rows with the same beginning that go to several
slots at once are computed in each of them. Therefore rows are not grouped for llama.cpp, and also not if rows share
arrays.

A long row that starts last delays the end of the batch, so the last window is sorted by length. Before the last
window a long row delays nothing. Sorting would only make the throughput that `limit/limiter.py` measures rise and
fall. The output is in the order of the input, whatever the sending order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from airflow_provider_hf_endpoints.inference.sending.parcels import Item

#: Bytes beyond the beginning of all rows that must be equal for rows to have a common beginning: about a block
#: of sixteen tokens, the unit in which vLLM caches prefixes.
ALIKE = 64
#: Distance between the first of a group and the others: so many groups, and bytes. That is the work of some tens of
#: thousands of tokens: a few steps of an engine, and little enough for its cache.
FEWEST_APART = 4
BYTES_APART = 64 * 1024
#: Rows read per row sent, so that the next window is full when this one is empty.
AHEAD = 2
#: Rows read at once before the first is sent. Other tasks run in between.
AT_FIRST = 64
BLOCK = 4096  # bytes that are compared at once
#: Bytes of request bodies in a window, however few rows that are.
MOST_BYTES = 16 * 1024 * 1024


def beginning_alike(bodies: Sequence[bytes]) -> list[list[int]]:
    """Places of the bodies, those with a common beginning together; groups in the order of their first."""
    order = sorted(range(len(bodies)), key=bodies.__getitem__)
    if not order:
        return []
    alike = _common(bodies[order[0]], bodies[order[-1]]) + ALIKE
    groups: dict[bytes, list[int]] = {}
    for place in order:
        groups.setdefault(bodies[place][:alike], []).append(place)
    return sorted(groups.values(), key=min)


def _common(one: bytes, other: bytes) -> int:
    """Length of the common beginning of two bodies. In a sorted list, the first and the last give that of all."""
    most = min(len(one), len(other))
    # By blocks, because bodies may have megabytes, and a window may have only one body.
    begins = next((at for at in range(0, most, BLOCK) if one[at : at + BLOCK] != other[at : at + BLOCK]), most)
    pairs = zip(one[begins : begins + BLOCK], other[begins : begins + BLOCK], strict=False)
    return begins + next((count for count, (a, b) in enumerate(pairs) if a != b), min(BLOCK, most - begins))


def sending_order(bodies: Sequence[bytes], *, last: bool, alike: bool = True) -> list[int]:
    """Places of the bodies in their best sending order.

    :param last: whether nothing comes after them
    :param alike: whether to group those with a common beginning
    """
    groups = beginning_alike(bodies) if alike else [[place] for place in range(len(bodies))]
    if last:
        groups.sort(key=lambda group: -max(len(bodies[place]) for place in group))
    order: list[int] = []
    chunk: list[list[int]] = []
    size = 0
    for group in groups:
        chunk.append(group)
        size += len(bodies[group[0]])
        if len(chunk) >= FEWEST_APART and size >= BYTES_APART:
            order += _first_of_each_first(chunk)
            chunk, size = [], 0
    return order + _first_of_each_first(chunk)


def _first_of_each_first(groups: list[list[int]]) -> list[int]:
    """The order in which the engine has cached the beginning of a group before the rest of the group comes."""
    return [group[0] for group in groups] + [place for group in groups for place in group[1:]]


class OrderWindow:
    """Rows that are read and not yet sent: while one window is given out, the next is gathered.

    :param size: rows in a window; up to twice as many are in memory
    :param alike: whether to group rows with a common beginning
    """

    def __init__(self, size: int, *, alike: bool = True) -> None:
        self._size = size
        self._alike = alike
        self._gathered: list[Item] = []
        self._bytes = 0
        self._ready: deque[Item] = deque()
        self._begun = False

    def __len__(self) -> int:
        return len(self._gathered) + len(self._ready)

    @property
    def wants(self) -> int:
        """How many rows to gather before the next is taken."""
        left = self._size - len(self._gathered) if self._bytes < MOST_BYTES else 0
        return min(left, AHEAD if self._ready else AT_FIRST)

    def opens(self, *, last: bool) -> bool:
        """Whether rows may be taken: the first window is full, or nothing more comes."""
        self._begun = self._begun or last or len(self._gathered) >= self._size or self._bytes >= MOST_BYTES
        return self._begun

    def gather(self, row: Item) -> None:
        """Add a row that was read."""
        self._gathered.append(row)
        self._bytes += len(row.request.body)

    def take(self, *, last: bool) -> Item | None:
        """The row to send next, None if there is none.

        :param last: whether nothing more comes
        """
        if not self._ready and self._gathered:
            rows, self._gathered, self._bytes = self._gathered, [], 0
            order = sending_order([row.request.body for row in rows], last=last, alike=self._alike)
            self._ready.extend(rows[place] for place in order)
        return self._ready.popleft() if self._ready else None
