"""Output lines and dead letters of a shard as they read in the whole, where other rows stand before them. They are not
decoded: all but the places in them stays as it is, byte for byte."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TEXT = rb'"(?:[^"\\]|\\.)*"'
_ID = rb"(?:%b|[^\",]*)" % _TEXT
#: How an output line begins. OpenAI Batch's form tells no places.
_HEAD = re.compile(rb'\{"id":(?P<id>%b),"index":(?P<index>\d+)' % _ID)
#: How the line of a row begins whose error says where it stands, in either form, up to that place.
_BAD_ROW = re.compile(
    rb'\{"id":%b,(?:"index":\d+,"output":null,"finish_reason":null,"usage":null|"custom_id":%b,"response":null)'
    rb',"error":\{"(?:type|code)":"bad_row","message":"line (?P<line>\d+)(?P<after> after byte \d+) of ' % (_ID, _ID)
)
#: What a dead letter has behind the output line, where its file was cut before it.
_ORIGIN = re.compile(rb',"file":%b,"line":(?P<line>\d+)(?P<after>,"after_byte":\d+)' % _TEXT)


@dataclass(frozen=True, slots=True)
class Move:
    """How far a shard's rows are moved.

    :param rows: before the shard, in all files
    :param lines: before it in the file in which it begins
    :param ids_are_places: rows are named by their place
    """

    rows: int
    lines: int
    ids_are_places: bool

    def line(self, line: bytes) -> bytes:
        """An output line as it reads in the whole."""
        if b" after byte " in line:
            line = self._counted(line, _BAD_ROW.match(line))
        head = _HEAD.match(line) if self.rows else None
        if head is None:
            return line
        index = b"%d" % (int(head["index"]) + self.rows)
        own = index if self.ids_are_places and head["id"].isdigit() else head["id"]
        return b'{"id":%b,"index":%b%b' % (own, index, line[head.end() :])

    def letter(self, letter: bytes, line: bytes) -> bytes:
        """A dead letter as it reads in the whole.

        :param line: of the same row, with which the letter begins but for its closing brace
        """
        end = len(line) - len(b"}\n")
        return self.line(letter[:end]) + self._counted(letter, _ORIGIN.match(letter, end))[end:]

    def _counted(self, text: bytes, found: re.Match[bytes] | None) -> bytes:
        """The text with the line number counted from the file's beginning."""
        if found is None:
            return text
        number = b"%d" % (int(found["line"]) + self.lines)
        return text[: found.start("line")] + number + text[found.end("after") :]


def is_letter_of(letter: bytes | None, line: bytes) -> bool:
    """Whether a dead letter is of the row in an output line."""
    return letter is not None and letter.startswith(line[: -len(b"}\n")])
