"""Which rows are in the journal, and where: a few numbers per row, so that millions of rows fit into memory."""

from __future__ import annotations

from array import array

_NOT_DONE = -1
_GROWTH = 4096  # rows by which the index grows
_NO_PLACE, _ZERO_LENGTH, _NO_KEY = array("q", [_NOT_DONE]), array("I", [0]), array("Q", [0])
_OFFSET_BITS = 40  # a segment has at most a terabyte


class Index:
    """The place of each row's record, in 12 bytes per row, and the keys of rows of earlier runs, in 16 more."""

    def __init__(self) -> None:
        #: Key and line key of each row that an earlier run finished, 0 for the others.
        self.keys = array("Q")
        self.line_keys = array("Q")
        self._places = array("q")
        self._lengths = array("I")
        self.done = 0

    def __len__(self) -> int:
        """The number of rows up to the last finished one, and a few more."""
        return len(self._places)

    def set(self, index: int, segment: int, offset: int, length: int) -> None:
        """Remember a row; a later record of it replaces an earlier one."""
        places = self._places
        if index >= len(places):
            missing = index + _GROWTH - len(places)
            places.extend(_NO_PLACE * missing)
            self._lengths.extend(_ZERO_LENGTH * missing)
        if places[index] == _NOT_DONE:
            self.done += 1
        places[index] = segment << _OFFSET_BITS | offset
        self._lengths[index] = length

    def set_keys(self, index: int, key: int, line_key: int) -> None:
        """Remember the keys of a row of an earlier run."""
        keys = self.keys
        if index >= len(keys):
            missing = _NO_KEY * (index + _GROWTH - len(keys))
            keys.extend(missing)
            self.line_keys.extend(missing)
        keys[index] = key
        self.line_keys[index] = line_key

    def forget_keys(self, index: int) -> None:
        """Forget the keys of a row. The row stays finished."""
        self.keys[index] = self.line_keys[index] = 0

    def clear(self, index: int) -> None:
        """Forget a row."""
        if index < len(self._places) and self._places[index] != _NOT_DONE:
            self._places[index] = _NOT_DONE
            self.done -= 1
        if index < len(self.keys):
            self.keys[index] = self.line_keys[index] = 0

    def find(self, index: int) -> tuple[int, int, int] | None:
        """Segment, offset and length of a row's record, None if the row is not finished."""
        if index >= len(self._places) or self._places[index] == _NOT_DONE:
            return None
        place = self._places[index]
        return place >> _OFFSET_BITS, place & ((1 << _OFFSET_BITS) - 1), self._lengths[index]

    def key(self, index: int) -> int:
        """Key of a row that an earlier run finished, else 0."""
        return self.keys[index] if index < len(self.keys) else 0
