"""Fewer, larger segments on an object store: thirty-two segments in a row are written again as one, then deleted.

A segment's name says which groups of a run it contains: `NNNNNN-run-FFFFFF.log` one group, and
`NNNNNN-run-FFFFFF-LLLLLL.log` the first to the last. A process killed between the write of the large segment and the
deletion of the small ones leaves both. A reader then takes the large one. So after a day with a group every five
seconds, a resume reads tens of objects and not thousands.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from upath import UPath

from airflow_provider_hf_endpoints.inference.input_errors import OutputBusyError
from airflow_provider_hf_endpoints.inference.stores.folders import delete_files

log = logging.getLogger(__name__)

FANOUT = 32  # segments that become one
LARGEST = 32 << 20  # bytes; writing larger segments again costs more than their number
_NAME = re.compile(r"^(\d{6})-([0-9a-f]{8})(?:-(\d{6})(?:-(\d{6}))?)?\.log$")


@dataclass(frozen=True, slots=True)
class Part:
    """A segment, by its name.

    :param number: of the run's epoch
    :param first: the first of the run's groups in it; `last` likewise
    """

    number: int
    run: str
    first: int
    last: int

    @property
    def name(self) -> str:
        """The name of its object or file."""
        to = "" if self.last == self.first else f"-{self.last:06d}"
        return f"{self.number:06d}-{self.run}-{self.first:06d}{to}.log"


@dataclass(frozen=True, slots=True)
class _Named(Part):
    """An existing segment with its name. On a local disk, the name may not say which groups."""

    found: str

    @property
    def name(self) -> str:
        return self.found


def parts_in(names: Iterable[str]) -> list[Part]:
    """The segments among the files of a folder."""
    return [
        _Named(int(found[1]), found[2], int(found[3] or 0), int(found[4] or found[3] or 0), found[0])
        for found in map(_NAME.match, names)
        if found
    ]


def current(names: Iterable[str]) -> list[Part]:
    """The segments to read, in order, without those that a larger one contains."""
    kept: list[Part] = []
    for part in sorted(parts_in(names), key=lambda part: (part.number, part.run, part.first, -part.last)):
        before = kept[-1] if kept else None
        if before is None or (before.number, before.run) != (part.number, part.run) or part.last > before.last:
            kept.append(part)
    return kept


class Compaction:
    """The segments of this run, and which of them to merge.

    :param folder: of the journal
    :param number: of the run's segments
    :param run: in the names of the run's segments
    :param joined: called with merged segments, the segment in their place, and its start and size in the run's file
    """

    def __init__(
        self,
        folder: UPath,
        number: int,
        run: str,
        joined: Callable[[list[Part], Part, int, int], None] = lambda parts, whole, start, size: None,
    ) -> None:
        self._folder = folder
        self._joined = joined
        self._number, self._run = number, run
        self._levels: list[list[tuple[Part, int, int]]] = []  # with start in the run's own file, and size
        self._end = 0

    def appended(self, part: Part, size: int) -> None:
        """A group is durable.

        :param size: in bytes
        """
        self._place(0, (part, self._end, size))
        self._end += size

    def _place(self, level: int, placed: tuple[Part, int, int]) -> None:
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(placed)

    def run(self, own: int, check: Callable[[], None]) -> None:
        """Merge what can be merged. If the store fails, nothing is lost: the next call tries again.

        :param own: descriptor of the run's local file, which contains all its groups in order
        :param check: called before anything is deleted; raises when another run may be reading it
        """
        for level, parts in enumerate(self._levels):
            while len(parts) >= FANOUT:
                some = parts[:FANOUT]  # the same segments, and so the same name, if this fails and is tried again
                start, size = some[0][1], sum(each[2] for each in some)
                if size <= LARGEST:
                    try:
                        small = [part for part, _, _ in some]
                        whole = self._join(small, os.pread(own, size, start), check)
                        self._joined(small, whole, start, size)
                    except OutputBusyError:
                        raise
                    except Exception as error:  # noqa: BLE001 - stores raise what they like
                        log.warning("could not compact the journal (%s: %s)", type(error).__name__, error)
                        return
                    self._place(level + 1, (whole, start, size))
                del parts[:FANOUT]  # segments that are large together are not merged

    def _join(self, parts: list[Part], data: bytes, check: Callable[[], None]) -> Part:
        whole = Part(self._number, self._run, parts[0].first, parts[-1].last)
        path = self._folder / whole.name
        path.fs.pipe_file(path.path, data)
        check()
        delete_files(self._folder, [part.name for part in parts])
        return whole
