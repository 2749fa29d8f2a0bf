"""The users' tasks of generated DAGs: work that takes time and ends in a given way, and branches."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator

from tests.generated.versions import AirflowFailException, AirflowSkipException, SkipMixin
from tests.generated.wire import ACTOR


@dataclass
class Use:
    """A task's work on an endpoint; `until` is None while it goes on."""

    who: Any
    name: str
    since: float
    until: float | None = None


USES: list[Use] = []  # of the case that is being played


class Work(BaseOperator):
    """A task of a user, on an endpoint or on none.

    :param endpoint: the endpoint that it uses while it works. (templated)
    :param seconds: how long it works.
    :param ends: how each try ends: `ok`, `fail`, `fail for good`, `skip`; the last one stands for all later tries.
    """

    template_fields: Sequence[str] = ("endpoint",)

    def __init__(
        self, *, endpoint: Any = None, seconds: float = 60.0, ends: Sequence[str] = ("ok",), **kwargs: Any
    ) -> None:
        kwargs.pop("hf_endpoints_conn_id", None)
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.seconds = seconds
        self.ends = ends

    def execute(self, context: Any) -> str:
        """Work, and end."""
        use = None
        name = self.endpoint.get("name") if isinstance(self.endpoint, Mapping) else self.endpoint
        if name is not None:
            use = Use(ACTOR.get(), name, time.time())
            USES.append(use)
        time.sleep(self.seconds)
        if use is not None:
            use.until = time.time()
        match self.ends[min(context["ti"].try_number, len(self.ends)) - 1]:
            case "fail":
                raise RuntimeError("the work failed")
            case "fail for good":
                raise AirflowFailException("the work failed for good")
            case "skip":
                raise AirflowSkipException("nothing to do")
        return "done"


class Skips(BaseOperator):
    """A user's own operator that skips tasks behind it by itself; its class does not show that it can.

    :param skips: `next`: none; `nothing`: what is directly behind it; `outside`: all that is behind it, but teardowns;
        `everything`: all that is behind it.
    """

    def __init__(self, *, skips: str = "nothing", **kwargs: Any) -> None:
        kwargs.pop("hf_endpoints_conn_id", None)
        super().__init__(**kwargs)
        self.skips = skips

    def execute(self, context: Any) -> None:
        """Skip them."""
        behind = {
            "next": [],
            "nothing": self.get_direct_relatives(upstream=False),
            "outside": [each for each in self.get_flat_relatives(upstream=False) if not each.is_teardown],
            "everything": self.get_flat_relatives(upstream=False),
        }
        SkipMixin().skip(context["ti"], behind[self.skips])


def picks(*task_ids: str) -> Callable[[], list[str]]:
    """What a branch returns."""
    return lambda: list(task_ids)


FILES: list[Path] = []  # of the case that is being played: the one folder of its batches
ROWS = 12


def rows() -> str:
    """The input of every batch."""
    path = FILES[-1] / "rows.jsonl"
    if not path.exists():
        path.write_text("".join(f'{{"text": "row {number}"}}\n' for number in range(ROWS)))
    return str(path)


def output_of(task_id: str) -> str:
    """The output of a batch, one for each run of its DAG. (a template)"""
    return f"{FILES[-1]}/out-{task_id}-{{{{ run_id }}}}.jsonl"
