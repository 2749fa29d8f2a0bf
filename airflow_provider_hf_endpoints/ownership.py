"""Who owns an endpoint: the marks that tasks leave for other attempts, triggers and the sweeper, in one vocabulary.

A retry, or the attempt after a clear, knows nothing of the attempt before: its XComs are cleared, and a killed process
could not report anything. Each mark below survives another kind of end. `docs/contributing/ownership.md` shows them
side by side. Leases, which say who *uses* an endpoint, are in `leases/`.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_hf_endpoints._airflow import AirflowRuntimeError, pull_xcom
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint, InferenceEndpointStatus
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec
from airflow_provider_hf_endpoints.kept import Document, KeptAt, StoreError, document_at
from airflow_provider_hf_endpoints.leases.notes import StartNote, StartNotes, start_note

log = logging.getLogger(__name__)

_NAMESPACE_KEY = "hf_endpoint_namespace"  # the XCom of the namespace, if only the token determines it
_TAG_PREFIX = "airflow-task-"

#: The XCom of the claim: an attempt that leaves its wait to a trigger leaves its own id there, which Airflow empties
#: before the next attempt.
CLAIM_KEY = "hf_endpoint_started_here"


# The creator tag, on the endpoint itself


def creator_tag(task_instance: Any) -> str | None:
    """The tag of a task in its DAG run, the same in every attempt; None outside of a run."""
    names = [getattr(task_instance, name, None) for name in ("dag_id", "run_id", "task_id")]
    if not all(isinstance(name, str) for name in names):
        return None
    place = "\0".join([*map(str, names), str(getattr(task_instance, "map_index", -1))])
    return _TAG_PREFIX + hashlib.sha256(place.encode()).hexdigest()[:16]


def creator_tags_in(tags: Iterable[str] | None) -> list[str]:
    """The tags that are creator tags, of any task."""
    return [tag for tag in tags or () if tag.startswith(_TAG_PREFIX)]


# The start note, beside the leases

# The clocks of Airflow and of the service differ. A start notes itself before its request.
_CLOCK_SLACK = 60.0  # seconds


def was_replaced(endpoint: InferenceEndpoint, note: StartNote | None) -> bool:
    """Whether somebody else has deleted the endpoint that the note is about, and created another with its name.

    An endpoint with a creator tag is this provider's own. In doubt, the endpoint counts as the same one: an endpoint
    that keeps running costs money.
    """
    if note is None or endpoint.created_at is None or creator_tags_in(endpoint.tags):
        return False
    created = endpoint.created_at.timestamp()
    return created > (note.at + _CLOCK_SLACK if note.created is None else note.created)


def is_anothers(endpoint: InferenceEndpoint | None, note: StartNote) -> bool:
    """The same of what a read has found, before the endpoint is stopped. If so, logs that it is left as it is."""
    if endpoint is None or not was_replaced(endpoint, note):
        return False
    log.warning(
        "Endpoint %s/%s is left as it is (%s): somebody else deleted the endpoint that %s started, and created this "
        "one at %s. Its creator has to stop it.",
        endpoint.namespace,
        endpoint.name,
        endpoint.status,
        note.who,
        endpoint.created_at,
    )
    return True


def run_of(task_instance: Any) -> tuple[str, str] | None:
    """The DAG and the run of a task, as a start note has them; None outside of a run."""
    names = [getattr(task_instance, name, None) for name in ("dag_id", "run_id")]
    return (str(names[0]), str(names[1])) if all(isinstance(name, str) for name in names) else None


# The claim, in XCom


def attempt_id(task_instance: Any) -> str | None:
    """The id of an attempt: another one for every retry and every clear."""
    attempt = getattr(task_instance, "id", None)
    return None if attempt is None else str(attempt)


def leave_claim(task_instance: Any, attempt: str | None) -> None:
    """Before a deferral: the attempt's trigger may act on the endpoint for as long as this stands."""
    task_instance.xcom_push(key=CLAIM_KEY, value=attempt or True)


def withdraw_claim(task_instance: Any) -> None:
    """After a release: the attempt's trigger, which Airflow may take away late, has nothing left to do."""
    try:
        task_instance.xcom_push(key=CLAIM_KEY, value=False)
    except Exception as error:  # noqa: BLE001 - an XCom backend's may be any; what led here must be raised
        log.warning("The trigger of this task may release its endpoint a second time: %s", error)


def has_left_claim(task_instance: Any) -> bool | None:
    """Whether the attempt has deferred with an endpoint that it owns. A wait that Airflow ends has no kwargs.

    None if the XCom cannot be read. Then the marks on the endpoint have to do.
    """
    try:
        return bool(pull_xcom(task_instance, task_instance.task_id, CLAIM_KEY))
    except Exception as error:  # noqa: BLE001 - an XCom backend's may be any; the endpoint bills meanwhile
        log.warning("Could not read from XCom whether this task has started its endpoint: %r", error)
        return None


def leave_namespace(task_instance: Any, namespace: str) -> None:
    """Before a deferral: a wait that Airflow ends has no kwargs, and the Hub limits how often it may be asked."""
    task_instance.xcom_push(key=_NAMESPACE_KEY, value=namespace)


def left_namespace(task_instance: Any) -> str | None:
    """The namespace that the attempt has left; None if it has left nothing, or the XCom cannot be read."""
    try:
        namespace = pull_xcom(task_instance, task_instance.task_id, _NAMESPACE_KEY)
    except Exception as error:  # noqa: BLE001 - an XCom backend's may be any; the Hub knows the namespace too
        log.warning("Could not read the namespace of the endpoint from XCom; asking the Hub again: %r", error)
        return None
    return namespace if isinstance(namespace, str) else None


def ask_task_store(store: Any, what: str, *arguments: Any) -> Any:
    """`get`, `set` or `delete` of Airflow's task state store; None without a store, or if the store does not answer."""
    if store is None:
        return None
    try:
        return getattr(store, what)(*arguments)
    except (AirflowRuntimeError, StoreError) as error:
        log.warning("The record of this task that a retry reads failed (%s): %s", what, error)
        return None


class TaskRecords:
    """In place of Airflow's task state store, which exists from 3.3 on: a document for each, beside the leases.

    :param tag: what identifies the task in its run, see `creator_tag`
    """

    def __init__(self, kept_at: KeptAt, tag: str) -> None:
        self._at, self._tag = kept_at, tag

    def get(self, key: str) -> Any:
        """The value; None if there is none. Raises `StoreError`."""
        return self._document(key).read()

    def set(self, key: str, value: Any) -> None:
        """Keep the value for further attempts. Raises `StoreError`."""
        self._document(key).write(value)

    def delete(self, key: str) -> None:
        """Remove it. Raises `StoreError`."""
        self._document(key).remove()

    def _document(self, key: str) -> Document:
        described = "What an attempt of a task leaves for a retry"
        return document_at(self._at, (key,), self._tag, key=f"{key}.{self._tag}", description=described)


class ResumeNote:
    """What a task notes of the endpoint that it resumes: before the request is sent, until it is done with it.

    In Airflow's task state store, which outlives an attempt, or before Airflow 3.3 in `TaskRecords`. A store that does
    not answer is not a reason to fail. No tag is set: whether an update of nothing but tags restarts an endpoint is not
    known.
    """

    _KEY = "hf_endpoint_resumed"

    def __init__(self, store: Any) -> None:
        self._store = store

    def write(self, endpoint: InferenceEndpoint) -> None:
        """The task is about to resume `endpoint`."""
        self._ask("set", self._KEY, _place(endpoint))

    def is_of(self, endpoint: InferenceEndpoint) -> bool:
        """Whether an earlier attempt was about to resume it, and has not ended it since.

        Another endpoint with its name is not meant. A note of an older version has only the name.
        """
        noted = self._ask("get", self._KEY)
        return noted is not None and noted in (_place(endpoint), f"{endpoint.namespace}/{endpoint.name}")

    def forget(self) -> None:
        """It is released, or the DAG's."""
        if self._ask("get", self._KEY) is not None:
            self._ask("delete", self._KEY)

    def _ask(self, what: str, *arguments: str) -> Any:
        return ask_task_store(self._store, what, *arguments)


class Ownership:
    """The ownership of one endpoint, in one attempt of a task that may start it.

    :param keep: whether the endpoint stays running when the run has ended

    :ivar owned: whether this task has started the endpoint, in this attempt or an earlier one. If the task fails, it
        has to release the endpoint. A deferral stores this as `started_here`.
    """

    def __init__(self, context: Mapping[str, Any], *, owned: bool = False, keep: bool = False) -> None:
        ti = context["ti"]
        self.owned = owned
        self.attempt = attempt_id(ti)
        self._tag = creator_tag(ti)
        store = context.get("task_state_store")
        self._has_store, self._resume_note = store is not None, ResumeNote(store)
        self._start_note = start_note(ti, time.time(), keep=keep)
        self._created: float | None = None  # for the start note
        self._woken = False  # the same

    def keep_at(self, kept_at: KeptAt) -> None:
        """Where Airflow has no task state store, the note of a resume is kept beside the leases."""
        if self._has_store or self._tag is None:
            return
        self._has_store, self._resume_note = True, ResumeNote(TaskRecords(kept_at, self._tag))

    def tagged(self, spec: EndpointSpec) -> EndpointSpec:
        """`spec` with the creator tag."""
        return spec if self._tag is None else spec.model_copy(update={"tags": [*(spec.tags or ()), self._tag]})

    def has_created(self, endpoint: InferenceEndpoint | None) -> bool:
        """Whether an earlier attempt of this task created `endpoint`."""
        return endpoint is not None and self._tag is not None and self._tag in (endpoint.tags or ())

    def take_up(self, endpoint: InferenceEndpoint) -> bool:
        """Own an endpoint that an earlier attempt created or resumed; whether it created it."""
        if self.has_created(endpoint):
            self.owned = True
            log.info("Endpoint %s was created by an earlier attempt of this task.", endpoint.name)
            return True
        self.take_up_resumed(endpoint)
        return False

    def take_up_resumed(self, endpoint: InferenceEndpoint) -> None:
        """Own an endpoint that an earlier attempt resumed, if it has not been released since."""
        if self._resume_note.is_of(endpoint):
            self.owned = True
            log.info("Endpoint %s was resumed by an earlier attempt of this task.", endpoint.name)

    def note_resume(self, endpoint: InferenceEndpoint) -> None:
        """Before the request: no tag will say of a resume whose it is, nor what state to restore."""
        self._resume_note.write(endpoint)
        self._woken = endpoint.status == InferenceEndpointStatus.SCALED_TO_ZERO

    def recall(self, note: StartNote | None) -> None:
        """Take up from the stored start note of this run what state to restore."""
        self._woken = note is not None and note.woken

    def identify(self, endpoint: InferenceEndpoint | None) -> bool:
        """Keep for the start note which endpoint is started, None for one that is created now. Whether that is new."""
        if endpoint is None:
            self._woken = False  # what an earlier attempt has woken is deleted
        at = None if endpoint is None else endpoint.created_at
        before, self._created = self._created, None if at is None else at.timestamp()
        return self._created != before

    @property
    def notes_starts(self) -> bool:
        """Whether there is a DAG run to note."""
        return self._start_note is not None

    @property
    def note(self) -> StartNote | None:
        """Which endpoint is started, and by whom; None outside of a DAG run."""
        if self._start_note is None:
            return None
        return replace(self._start_note, created=self._created, woken=self._woken)

    def note_start(self, kept_at: KeptAt, namespace: str, name: str, budget: Mapping[str, Any] | None) -> None:
        """Tell the sweeper who starts the endpoint and what for, and a retry what is spent of the budget."""
        note = self.note
        if note is not None:
            StartNotes(kept_at).write(namespace, name, replace(note, budget=budget))

    def notes(self, kept_at: KeptAt, namespace: str, name: str) -> tuple[StartNote | None, StartNote | None]:
        """The stored start note, and the note that this attempt would write."""
        return StartNotes(kept_at).read(namespace, name), self._start_note

    def end(self) -> None:
        """The endpoint is released, or it is the DAG's now, and what comes after this task ends it."""
        self._resume_note.forget()


def _place(endpoint: InferenceEndpoint) -> str:
    created = "" if endpoint.created_at is None else f" of {endpoint.created_at.isoformat()}"
    return f"{endpoint.namespace}/{endpoint.name}{created}"
