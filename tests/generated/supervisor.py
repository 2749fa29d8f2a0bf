"""What a task's process asks of its supervisor, answered from memory and from the database: no API server between.

Each answer does what Airflow's execution API does for that message (`execution_api/routes/task_instances.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import comms
from greenlet import GreenletExit  # type: ignore[import-untyped]

XComKey = tuple[str, str, str, int, str]  # dag, run, task, map index, key

_TOLD_AS_ANSWER = ("GetVariable", "GetTaskStateStore", "TriggerDagRun")  # errors that the task itself looks at
_RUN_EXISTS = ErrorType.DAGRUN_ALREADY_EXISTS
_UNTOUCHED = ("running", "success", "failed")  # states that a skip from upstream leaves alone


class Memory:
    """What Airflow keeps beside the tables of task instances: XComs, Variables, the task state store."""

    def __init__(self) -> None:
        self.xcoms: dict[XComKey, Any] = {}
        self.missed: list[XComKey] = []  # XComs that were asked for and not there: an error in Airflow's log
        self.variables: dict[str, str] = {}
        self.states: dict[tuple[str, str, str, int], dict[str, Any]] = {}
        self.rendered: list[Any] = []  # fields, as the UI shows them
        self.asked: dict[str, str] = {}  # by the id of a task instance: what a person is asked
        self.unanswered: set[str] = set()  # questions that this supervisor does not know
        self.on_xcom: Callable[[XComKey, Any], None] = lambda key, value: None
        self.on_length: Callable[[XComKey, int], None] = lambda key, length: None

    def clear(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> None:
        """Before an attempt begins its XComs go."""
        place = (dag_id, run_id, task_id, map_index)
        self.xcoms = {key: value for key, value in self.xcoms.items() if key[:4] != place}


class Line:
    """The line to the supervisor, one for all processes of a world: who asks is told by `attempt`.

    :param attempt: the attempt whose process has its turn; None in the triggerer
    :param ended: called with an attempt and the message that ends it
    :param states_of, state_of_run, trigger: answer `GetTaskStates`, `GetDagRunState` and `TriggerDagRun`
    :param is_paused: answers `GetDag`, which Airflow 3.0 does not know
    """

    _thread_lock = None  # as Airflow 3.3's has one: it may be asked from several threads

    def __init__(
        self,
        memory: Memory,
        attempt: Callable[[], Any],
        ended: Callable[[Any, Any], None],
        states_of: Callable[[Any], dict[str, Any]],
        state_of_run: Callable[[str, str], Any],
        skip: Callable[[Any, Any], None],
        trigger: Callable[[Any], bool],
        closed: Callable[[], bool],
        is_paused: Callable[[str], bool],
    ) -> None:
        self._memory, self._attempt, self._ended = memory, attempt, ended
        self._states_of, self._skip, self._closed = states_of, skip, closed
        self._state_of_run, self._trigger, self._is_paused = state_of_run, trigger, is_paused

    def send(self, msg: Any) -> Any:
        """One question, one answer; an error is raised as Airflow's own line does."""
        if self._closed():
            raise GreenletExit
        answer = getattr(self, f"_{type(msg).__name__}", None)
        if answer is None:
            self._memory.unanswered.add(type(msg).__name__)
            raise NotImplementedError(f"the simulated supervisor has no answer to {type(msg).__name__}")
        found = answer(msg)
        if isinstance(found, comms.ErrorResponse) and type(msg).__name__ not in _TOLD_AS_ANSWER:
            raise AirflowRuntimeError(found)
        return found

    async def asend(self, msg: Any) -> Any:
        """The same in the triggerer."""
        return self.send(msg)

    # ------------------------------------------------------------------------------------------- XComs

    def _key(self, msg: Any) -> XComKey:
        map_index = -1 if msg.map_index is None else msg.map_index
        return (msg.dag_id, msg.run_id, msg.task_id, map_index, msg.key)

    def _GetXCom(self, msg: Any) -> Any:
        if self._key(msg) not in self._memory.xcoms:
            self._memory.missed.append(self._key(msg))
        return comms.XComResult(key=msg.key, value=self._memory.xcoms.get(self._key(msg)))

    def _SetXCom(self, msg: Any) -> Any:
        key = self._key(msg)
        self._memory.xcoms[key] = json.loads(json.dumps(msg.value))
        self._memory.on_xcom(key, msg.value)
        if msg.mapped_length is not None:  # others are mapped over it
            self._memory.on_length(key, msg.mapped_length)
        return None

    def _DeleteXCom(self, msg: Any) -> Any:
        self._memory.xcoms.pop(self._key(msg), None)
        return None

    def _GetXComSequenceSlice(self, msg: Any) -> Any:
        values = self._sequence(msg)
        return comms.XComSequenceSliceResult(root=values[slice(msg.start, msg.stop, msg.step)])

    def _GetXComSequenceItem(self, msg: Any) -> Any:
        values = self._sequence(msg)
        if not -len(values) <= msg.offset < len(values):
            return comms.ErrorResponse(error=ErrorType.XCOM_NOT_FOUND)
        return comms.XComSequenceIndexResult(root=values[msg.offset])

    def _GetXComCount(self, msg: Any) -> Any:
        return comms.XComCountResponse(len=len(self._sequence(msg)))

    def _sequence(self, msg: Any) -> list[Any]:
        place = (msg.dag_id, msg.run_id, msg.task_id)
        found = [(key[3], value) for key, value in self._memory.xcoms.items() if key[:3] == place and key[4] == msg.key]
        return [value for _, value in sorted(found, key=lambda each: each[0])]

    # ------------------------------------------------------------------------------------------- other stores

    def _GetVariable(self, msg: Any) -> Any:
        if msg.key not in self._memory.variables:
            return comms.ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND)
        return comms.VariableResult(key=msg.key, value=self._memory.variables[msg.key])

    def _GetVariableKeys(self, msg: Any) -> Any:
        keys = sorted(key for key in self._memory.variables if key.startswith(msg.prefix or ""))
        page = keys[msg.offset : msg.offset + msg.limit]
        return comms.VariableKeysResult(keys=page, total_entries=len(keys))

    def _PutVariable(self, msg: Any) -> Any:
        self._memory.variables[msg.key] = msg.value
        return None

    def _DeleteVariable(self, msg: Any) -> Any:
        self._memory.variables.pop(msg.key, None)
        return comms.OKResponse(ok=True)

    def _GetTaskStateStore(self, msg: Any) -> Any:
        store = self._memory.states.get(self._attempt().place, {})
        if msg.key not in store:
            return comms.ErrorResponse(error=ErrorType.TASK_STORE_NOT_FOUND)
        return comms.TaskStateStoreResult(value=store[msg.key])

    def _SetTaskStateStore(self, msg: Any) -> Any:
        self._memory.states.setdefault(self._attempt().place, {})[msg.key] = msg.value
        return None

    def _DeleteTaskStateStore(self, msg: Any) -> Any:
        self._memory.states.get(self._attempt().place, {}).pop(msg.key, None)
        return None

    # ------------------------------------------------------------------------------------------- the task itself

    def _SetRenderedFields(self, msg: Any) -> Any:
        self._memory.rendered.append(msg.rendered_fields)
        return None

    def _SetRenderedMapIndex(self, _: Any) -> Any:
        return None

    def _MaskSecret(self, _: Any) -> Any:
        return None

    def _ValidateInletsAndOutlets(self, _: Any) -> Any:
        return comms.InactiveAssetsResult(inactive_assets=[])

    def _GetTaskStates(self, msg: Any) -> Any:
        return comms.TaskStatesResult(task_states=self._states_of(msg))

    def _GetDagRunState(self, msg: Any) -> Any:
        state = self._state_of_run(msg.dag_id, msg.run_id)
        if state is None:
            return comms.ErrorResponse(error=ErrorType.GENERIC_ERROR)
        return comms.DagRunStateResult(state=state)

    def _GetDag(self, msg: Any) -> Any:
        return comms.DagResult(
            dag_id=msg.dag_id,
            is_paused=self._is_paused(msg.dag_id),
            bundle_name=None,
            bundle_version=None,
            relative_fileloc=None,
            owners=None,
            tags=[],
            next_dagrun=None,
        )

    def _TriggerDagRun(self, msg: Any) -> Any:
        return comms.OKResponse(ok=True) if self._trigger(msg) else comms.ErrorResponse(error=_RUN_EXISTS)

    def _CreateHITLDetailPayload(self, msg: Any) -> Any:
        self._memory.asked[str(msg.ti_id)] = msg.subject
        return None

    def _GetTICount(self, msg: Any) -> Any:
        states = [state for of_run in self._states_of(msg).values() for state in of_run.values()]
        return comms.TICount(count=len([state for state in states if not msg.states or state in msg.states]))

    def _GetTaskRescheduleStartDate(self, _: Any) -> Any:
        return comms.TaskRescheduleStartDate(start_date=self._attempt().first_reschedule)

    def _GetPrevSuccessfulDagRun(self, _: Any) -> Any:
        return comms.PrevSuccessfulDagRunResult()

    def _SkipDownstreamTasks(self, msg: Any) -> Any:
        self._skip(self._attempt(), msg.tasks)
        return None

    def _end(self, msg: Any) -> Any:
        self._ended(self._attempt(), msg)
        return None

    _SucceedTask = _TaskState = _RetryTask = _DeferTask = _AwaitInputTask = _RescheduleTask = _end


def may_be_skipped(state: str | None) -> bool:
    """Whether a skip from upstream changes a task in that state."""
    return state not in _UNTOUCHED


def when(clock_now: float, seconds: float = 0.0) -> datetime:
    """A moment of the world, for a column of the database."""
    return datetime.fromtimestamp(clock_now, UTC) + timedelta(seconds=seconds)
