"""The bars of waiting, each with its figure and whether it is met. Pure: rows in, lines out."""

from __future__ import annotations

from benchmarks.waiting_figures import Figures

PHASES = ("start", "steady", "end")


def verdicts(rows: list[Figures]) -> list[str]:
    """A Markdown table of what the rows say about the bars; a bar whose row is missing is left out."""
    ours = _find(rows, "the shared poll", most=True)
    killed = _find(rows, "the shared poll, SIGKILL", most=True)
    few, plain = _find(rows, "the shared poll"), _find(rows, "a client and a lookup each")
    idle = _find(rows, "nothing: Airflow's own part", most=True)
    lines = ["| bar | figure | |", "|---|---|---|"]

    def bar(what: str, value: float | None, limit: float, form: str, beside: str = "") -> None:
        if value is not None:
            met = "met" if value <= limit else "MISSED"
            lines.append(f"| {what} | {format(value, form)}{beside} | {met} |")

    if ours is not None:
        waits = f"{ours.waits} waits: "
        bar(f"{waits}connection lookups, at most 1", ours.lookups, 1, "d")
        bar(f"{waits}requests in 30 s, at most 12", ours.interval_requests, 12, ".1f")
        beside = "" if idle is None else f" (idle triggers: {idle.all_waiting:.1f})"
        bar(f"{waits}all wait after, at most 30 s", ours.all_waiting, 30, ".1f", beside)
        bar(f"{waits}CPU in steady state, below 5 % of a core", ours.cpu and ours.cpu * 100, 5, ".1f")
        bar(f"{waits}memory each, below 30 KB", ours.memory and ours.memory / 1024, 30, ".1f")
        for number, phase in enumerate(PHASES):
            theirs = idle.other[number] if idle is not None else None
            beside = "" if theirs is None else f" (idle triggers: Airflow's own {theirs * 1000:.0f})"
            own = ours.own[number]
            bar(f"{waits}loop held by this provider, {phase}, at most 50 ms", own and own * 1000, 50, ".0f", beside)
        bar(f"{waits}all resumed after the poll that saw them ready, at most 30 s", ours.all_resumed, 30, ".1f")
    if killed is not None:
        bar("after a SIGKILL: waits that did not end, 0", killed.waits - killed.ended, 0, "d")
        bar("after a SIGKILL: deadlines that changed, 0", int(not killed.same_deadlines), 0, "d")
    if few is not None and plain is not None and plain.interval_requests is not None:
        # Both made the same number of requests where they differ in less than is printed: their windows do.
        ours_made, limit = few.interval_requests, round(plain.interval_requests, 1)
        made = None if ours_made is None else round(ours_made, 1)
        bar("10 waits: requests no more than plain triggers make", made, limit, ".1f", f" (plain: {limit:.1f})")
    return lines


def _find(rows: list[Figures], what: str, *, most: bool = False) -> Figures | None:
    """The row of that name with the fewest waits, or with the most."""
    found = sorted((row for row in rows if row.what == what), key=lambda row: row.waits)
    return (found[-1] if most else found[0]) if found else None
