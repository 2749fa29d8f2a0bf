"""Removes what a killed run left beside an output: half-written files, a journal whose
output is already published, and its lock."""

from __future__ import annotations

import contextlib

from airflow_provider_hf_endpoints.inference.input_errors import OutputBusyError
from airflow_provider_hf_endpoints.inference.journal.lock import OutputLock, is_left
from airflow_provider_hf_endpoints.inference.output.layout import OutputLayout
from airflow_provider_hf_endpoints.inference.stores.folders import names_in, remove_folder
from airflow_provider_hf_endpoints.inference.stores.paths import written_path


def clear_finished(layout: OutputLayout) -> None:
    """Clean up after a run that was killed after it had written its manifest."""
    if not names_in(layout.journal) and not layout.journal.exists() and not is_left(layout.journal):
        return
    # The holder of the lock may be about to do the same.
    with contextlib.suppress(OutputBusyError):
        held = OutputLock(layout.journal)
        held.acquire()
        try:
            remove_folder(layout.journal)
            clear_half_written(layout)
        finally:
            held.release()


def clear_half_written(layout: OutputLayout) -> None:
    """Delete the unfinished files of `atomic.replacing`. Only for the holder of the output's lock."""
    for path in (layout.results, layout.errors, layout.manifest):
        local = written_path(path)
        if local is not None and local.parent.is_dir():
            for half in local.parent.glob(f".{_literal(local.name)}.*.tmp"):
                half.unlink(missing_ok=True)


def _literal(name: str) -> str:
    """A name for `glob` without special characters."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
