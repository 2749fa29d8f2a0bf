"""Output lines and dead letters of a shard, changed for the merged output, where other rows come before them. They are
not decoded: only the places in them change, byte by byte."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TEXT = rb'"(?:[^"\\]|\\.)*"'
_ID = rb"(?:%b|[^\",]*)" % _TEXT
#: The beginning of an output line. OpenAI Batch's form has no places.
_HEAD = re.compile(rb'\{"id":(?P<id>%b),"index":(?P<index>\d+)' % _ID)
#: The beginning of the line of a row whose error contains its place, in either form, up to this place.
_BAD_ROW = re.compile(
    rb'\{"id":%b,(?:"index":\d+,"output":null,"finish_reason":null,"usage":null|"custom_id":%b,"response":null)'
    rb',"error":\{"(?:type|code)":"bad_row","message":"line (?P<line>\d+)(?P<after> after byte \d+) of ' % (_ID, _ID)
)
#: The end of a dead letter, after the output line, if its file was divided before it.
_ORIGIN = re.compile(rb',"file":%b,"line":(?P<line>\d+)(?P<after>,"after_byte":\d+)' % _TEXT)


@dataclass(frozen=True, slots=True)
class Move:
    """How far a shard's rows move.

    :param rows: rows before the shard, in all files
    :param lines: lines before it in its first file
    :param ids_are_places: whether the id of a row is its place
    """

    rows: int
    lines: int
    ids_are_places: bool

    def line(self, line: bytes) -> bytes:
        """An output line for the merged output."""
        if b" after byte " in line:
            line = self._counted(line, _BAD_ROW.match(line))
        head = _HEAD.match(line) if self.rows else None
        if head is None:
            return line
        index = b"%d" % (int(head["index"]) + self.rows)
        own = index if self.ids_are_places and head["id"].isdigit() else head["id"]
        return b'{"id":%b,"index":%b%b' % (own, index, line[head.end() :])

    def letter(self, letter: bytes, line: bytes) -> bytes:
        """A dead letter for the merged output.

        :param line: of the same row; the letter begins with it, without its closing brace
        """
        end = len(line) - len(b"}\n")
        return self.line(letter[:end]) + self._counted(letter, _ORIGIN.match(letter, end))[end:]

    def _counted(self, text: bytes, found: re.Match[bytes] | None) -> bytes:
        """The text, with the line number counted from the file's beginning."""
        if found is None:
            return text
        number = b"%d" % (int(found["line"]) + self.lines)
        return text[: found.start("line")] + number + text[found.end("after") :]


def is_letter_of(letter: bytes | None, line: bytes) -> bool:
    """Whether a dead letter belongs to the row of an output line."""
    return letter is not None and letter.startswith(line[: -len(b"}\n")])
