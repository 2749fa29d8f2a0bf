"""The start of an endpoint by one attempt: who owns the endpoint, the start's budget, and the release on failure.

Create, resume and the start of a group each have one. If a start fails, its endpoint is released, so that it
stops billing. A teardown alone would not be enough: it runs when all of the work is over.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout, Context, TaskDeferred

from airflow_provider_hf_endpoints.endpoints.api import flows
from airflow_provider_hf_endpoints.endpoints.costs.budgets import BudgetSpentError, Limits
from airflow_provider_hf_endpoints.endpoints.errors import (
    InferenceEndpointError,
    InferenceEndpointTimeoutError,
    InvalidArgumentError,
    ServiceError,
    ServiceUnreachableError,
)
from airflow_provider_hf_endpoints.endpoints.models import NEEDS_RESUME, InferenceEndpoint, InferenceEndpointStatus
from airflow_provider_hf_endpoints.endpoints.upkeep.release import Release, state_after
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.leases.recent_changes import as_left_lately, note_lately
from airflow_provider_hf_endpoints.leases.records import READ_LAG
from airflow_provider_hf_endpoints.leases.store import other_users
from airflow_provider_hf_endpoints.operators.common.attempt import Guard, Handover, Summary
from airflow_provider_hf_endpoints.operators.common.emergency import (
    BadEnd,
    EmergencyRelease,
    Policies,
    check_policies,
)
from airflow_provider_hf_endpoints.operators.common.errors import TaskKilledError, in_airflow_terms
from airflow_provider_hf_endpoints.operators.common.held import Holders
from airflow_provider_hf_endpoints.operators.common.naming import EndpointRef
from airflow_provider_hf_endpoints.operators.common.task_waits import LOOKUP_ERRORS
from airflow_provider_hf_endpoints.operators.starting.budget import StartBudget
from airflow_provider_hf_endpoints.operators.starting.intent import is_kept, stopped_by
from airflow_provider_hf_endpoints.operators.starting.state import StartState
from airflow_provider_hf_endpoints.operators.using.acquired import FOUND_KEY, Acquired
from airflow_provider_hf_endpoints.operators.using.delays import check_skips, refuse_work_that_is_held_back
from airflow_provider_hf_endpoints.operators.using.leases import renew_acquired
from airflow_provider_hf_endpoints.ownership import Ownership, has_left_claim, leave_claim, run_of, withdraw_claim

log = logging.getLogger(__name__)

_ACCOUNT_LIMIT = 2.0  # seconds for each request about the cost of an endpoint before its release


@dataclass(frozen=True)
class StartTerms:
    """The DAG's settings of a start, checked when the DAG is parsed.

    :param policies: what happens to the endpoint on each kind of failure, if this task has started it
    :param limits: of the start alone
    :param in_group: whether the endpoint was acquired by a group
    :param keep: whether the endpoint stays after the run; None: see `intent.py`
    """

    policies: Policies
    limits: Limits
    in_group: bool
    keep: bool | None = None

    @classmethod
    def of(
        cls,
        policies: Mapping[str, Release],
        max_cost: float | None,
        max_runtime: float | timedelta | None,
        acquired: Any,
        keep: bool | None = None,
    ) -> StartTerms:
        """Raises `ValueError` for settings that are not valid."""
        return cls(check_policies(**policies), Limits.of(max_cost, max_runtime), acquired is not None, keep)


class Start(Guard):
    """One attempt's start of an endpoint.

    :param acquired: in a group, the result of `AcquireInferenceEndpointOperator`
    :param stored: what a deferral has stored; None at the beginning of an attempt
    :param task: the operator. If the terms do not say, its downstream tasks decide the purpose of the start
    """

    def __init__(
        self,
        terms: StartTerms,
        endpoint: EndpointRef,
        context: Context,
        acquired: Any,
        stored: Mapping[str, Any] | None,
        task: Any,
    ) -> None:
        state = StartState.of(stored or {})
        self._context: Any = context
        self._endpoint = endpoint
        self._terms = terms
        self._given, self._acquired = acquired, Acquired.of(acquired)
        self._begins = stored is None
        self._task = task
        self._holder = ""  # of a lease on the endpoint, in a group
        self.holders = Holders(endpoint, context, None if self._acquired is None else self._acquired.held)
        self.emergency = EmergencyRelease(
            endpoint, terms.policies, run_of(context["ti"]), restores=True, is_left=self._is_left
        )
        keep = False if terms.in_group and terms.keep is None else terms.keep
        self._keep = is_kept(keep, task, endpoint.name, endpoint.namespace)
        self.ownership = Ownership(self._context, owned=state.started_here, keep=self._keep)
        self.search = state.search
        # A clear raises `max_tries`, and a retry does not: a retry continues the budget of the previous try.
        key = f"try {getattr(self._context['ti'], 'max_tries', '')}"
        self.budget = StartBudget(terms.limits, key, None if self._acquired is None else self._acquired.budget)
        if stored is not None:
            self.budget.take_up(state.budget)

    # Around the attempt

    @contextmanager
    def around(self) -> Iterator[None]:
        """Release the endpoint that this task has started if the attempt fails."""
        with in_airflow_terms():
            self._check_use()
        try:
            yield
            self.check()
        except TaskDeferred:
            try:
                self._hand_over()
            except TaskKilledError:
                raise
            except Exception as error:  # no trigger will run, so this is the end of the attempt
                self._end_badly(error)
                raise
            raise
        except (Exception, AirflowTaskTimeout) as error:  # after any error, a started endpoint must not stay billed
            self._end_badly(error)
            raise
        self.ownership.end()

    def _check_use(self) -> None:
        """In a group: note the use for a later clear. Elsewhere: check that a started endpoint can be stopped."""
        if not self._terms.in_group:
            if self._begins:
                ends = stopped_by(self._task, self._endpoint.name, self._endpoint.namespace)
                refuse_work_that_is_held_back(
                    self._task, ends, self._context.get("logical_date"), self._context.get("ti")
                )
                check_skips(self._task, ends)
            return
        if self._acquired is None:
            raise InvalidArgumentError(
                f"acquired={self._given!r} is not the result of a task that acquires an endpoint, so this task starts "
                "nothing. Clear the whole group."
            )
        if self._begins:
            self._context["ti"].xcom_push(key=FOUND_KEY, value=self._acquired.noted)

    def _hand_over(self) -> None:
        """Before a deferral: store in XCom what other processes need to know."""
        ti, emergency = self._context["ti"], self.emergency
        if self.ownership.owned and not emergency.killed:
            leave_claim(ti, self.ownership.attempt)
            emergency.tell_namespace(ti)
            emergency.ask(ti)
        if emergency.killed:  # the signal arrived when only this check was left
            if self.ownership.owned:
                emergency.release("on_kill")
            raise emergency.error() from None

    def _end_badly(self, error: BaseException) -> None:
        """Release the endpoint. Raises if the task must end with another error than `error`."""
        emergency = self.emergency
        if self.ownership.owned:
            too_late = isinstance(error, InferenceEndpointTimeoutError | AirflowTaskTimeout)
            why: BadEnd = "on_timeout" if too_late else "on_failure"
            if emergency.policy(why) == "delete" and not emergency.killed:
                self.lose()
            emergency.release(why)
        if emergency.released:
            self.ownership.end()
        if isinstance(error, AirflowTaskTimeout):
            emergency.over = True
        if emergency.killed and not isinstance(error, TaskKilledError):
            raise emergency.error() from error
        if isinstance(error, BudgetSpentError):
            raise AirflowFailException(str(error)) from error  # a retry would have the same budget

    def ended_by_airflow(self, *, timeout: bool) -> None:
        """If Airflow ends a deferral, its kwargs are lost: the claim shows whether there is an endpoint."""
        claimed = has_left_claim(self._context["ti"])
        if self._has_marks() if claimed is None else claimed:
            self.emergency.recall_namespace(self._context["ti"])
            self.emergency.release("on_timeout" if timeout else "on_failure")
            if self.emergency.released:
                withdraw_claim(self._context["ti"])
            self._learn_place()
            self.ownership.end()

    def _learn_place(self) -> None:
        """Airflow has ended the wait, so nothing was prepared."""
        try:
            with InferenceEndpointsHook(self._endpoint.hf_endpoints_conn_id) as hook:
                self.ownership.keep_at(hook.kept_at)
        except LOOKUP_ERRORS as error:
            log.warning("A record of the start of endpoint %s may stay: %s", self._endpoint.name, error)

    def _is_left(self, policy: Release) -> bool:
        """Whether others use the endpoint. Without a lease, notes for them what this start would do to it."""
        try:
            with InferenceEndpointsHook(self._endpoint.hf_endpoints_conn_id) as hook:
                return self.holders.left_to_them(hook, state_after(policy, None), note=self._acquired is None)
        except LOOKUP_ERRORS as error:
            log.warning("Could not read who else uses endpoint %s: %s", self._endpoint.name, error)
            return False

    def _has_marks(self) -> bool:
        """Whether this task has started the endpoint, by its creator tag or the note of the resume."""
        endpoint = self._endpoint
        try:
            with InferenceEndpointsHook(endpoint.hf_endpoints_conn_id) as hook:
                client = hook.get_conn()
                found = client.run(flows.find(client.session, endpoint.name, endpoint.namespace))
                self.ownership.keep_at(hook.kept_at)
        except LOOKUP_ERRORS as error:
            log.error("Endpoint %s MAY STILL BE BILLING. Pause or delete it by hand. %s", endpoint.name, error)
            return False
        if found is not None:
            self.ownership.take_up(found)
        return self.ownership.owned

    def on_kill(self) -> None:
        """Release at once. This runs in a signal handler, shortly before the process is killed."""
        self.emergency.on_signal(act=self.ownership.owned)

    def check(self) -> None:
        """End the wait of a killed task."""
        self.emergency.check()

    # Before the requests

    def prepare(self, hook: InferenceEndpointsHook) -> None:
        """Once in each attempt, also after a deferral if it starts something more."""
        if self.emergency.prepared:
            return
        self.ownership.keep_at(hook.kept_at)
        self._place(hook)  # looked up before the start: a release has no time to ask the Hub for the namespace
        self.emergency.prepare(hook)
        if not self._begins:
            self._read_note(hook)
        if self.budget.is_set and self.budget.account is None:
            self.budget.open(*self.ownership.notes(hook.kept_at, *self._place(hook)), time.time())
        lease = None if self._acquired is None else self._acquired.held
        # Read now: a signal handler cannot. A kill must not stop an endpoint in use; the release checks again.
        if lease is not None:
            self._holder = lease.holder
            if other_users(hook.kept_at, *self._place(hook), lease.holder):
                self.emergency.leave_on_kill()
        elif self.holders.are_there(hook):
            self.emergency.leave_on_kill()

    def take_up(self, hook: InferenceEndpointsHook, found: InferenceEndpoint) -> bool:
        """Own the endpoint if an earlier attempt of this task has started it; whether that attempt created it."""
        created = self.ownership.take_up(found)
        if self.ownership.owned and self.emergency.note is None:
            self._read_note(hook)
        return created

    def _read_note(self, hook: InferenceEndpointsHook) -> None:
        self.emergency.read_note(hook)
        self.ownership.recall(self.emergency.note)

    def as_left(self, hook: InferenceEndpointsHook, seen: InferenceEndpoint) -> InferenceEndpoint:
        """The endpoint as read, or as stopped if another task has stopped it since and the read may lag behind."""
        acquired = self._acquired
        lease = None if acquired is None else acquired.held
        if acquired is None or lease is None or acquired.found not in NEEDS_RESUME or seen.status in NEEDS_RESUME:
            return as_left_lately(hook.kept_at, seen)
        if time.time() - lease.acquired > READ_LAG:
            return seen
        return seen.model_copy(update={"status": acquired.found})  # a resume of a running endpoint does nothing

    def prepare_again(self) -> None:
        """After a deferral, this attempt has to release the endpoint from its first moment on."""
        if not self.ownership.owned:
            return
        try:
            with InferenceEndpointsHook(self._endpoint.hf_endpoints_conn_id) as hook:
                self.prepare(hook)
        except LOOKUP_ERRORS as error:
            log.warning("If the task is killed now, endpoint %s cannot be released: %s", self._endpoint.name, error)

    @contextmanager
    def starting(self, hook: InferenceEndpointsHook, resumed: InferenceEndpoint | None = None) -> Iterator[None]:
        """Around the request that starts the endpoint. After its answer, or if the answer is lost, this task owns it.

        :param resumed: the endpoint, for a resume. A created endpoint has a tag; a resume must be noted first.
        """
        self.check()  # a killed task starts nothing
        self.ownership.identify(resumed)
        if resumed is not None:
            self.ownership.note_resume(resumed)
        self._note_start(hook)
        note_lately(hook.kept_at, *self._place(hook), InferenceEndpointStatus.RUNNING)
        try:
            yield
        except ServiceUnreachableError:
            raise  # the request never arrived
        except ServiceError:
            self.ownership.owned = True
            raise
        self.ownership.owned = True

    def started(self, hook: InferenceEndpointsHook, endpoint: InferenceEndpoint) -> None:
        """Note which endpoint was created. Another one with its name is not this run's to stop."""
        if self.ownership.owned and self.ownership.identify(endpoint):
            self._note_start(hook)

    def lose(self) -> None:
        """Before the endpoint is deleted: add its cost to the account, also for a retry. Never raises."""
        if not self.budget.is_set:
            return
        endpoint = self._endpoint
        try:
            with InferenceEndpointsHook(endpoint.hf_endpoints_conn_id) as hook:
                hook.get_conn().limit(_ACCOUNT_LIMIT)
                self.budget.lose(hook.get_conn(), endpoint.name, endpoint.namespace)
                self._note_start(hook)
        except LOOKUP_ERRORS as error:
            log.warning(
                "Could not read the cost of endpoint %s; it is missing in the account: %s", endpoint.name, error
            )

    def _note_start(self, hook: InferenceEndpointsHook) -> None:
        self.emergency.note = self.ownership.note
        if self.ownership.notes_starts:
            self.ownership.note_start(hook.kept_at, *self._place(hook), self.budget.stored())

    def _tell_intent(self) -> None:
        """Keep an endpoint that already ran from now on, because its starter may be done with it."""
        if not self._keep:
            return
        if self._terms.keep is None:
            log.warning(
                "No task after this one stops endpoint %s, so the endpoint is kept after the run, and the sweeper "
                "ignores it. Set keep=False if the endpoint is only for this run, or keep=True if this is intended.",
                self._endpoint.name,
            )
        if self.ownership.owned:
            return  # noted before the request
        with InferenceEndpointsHook(self._endpoint.hf_endpoints_conn_id) as hook:
            self._note_start(hook)

    def _place(self, hook: InferenceEndpointsHook) -> tuple[str, str]:
        return self._endpoint.namespace or hook.get_conn().default_namespace(), self._endpoint.name

    # The wait, and its end

    def deadline(self, hook: InferenceEndpointsHook, endpoint: InferenceEndpoint, given: float | None) -> float | None:
        """With the budget's limit."""
        return self.budget.deadline(hook.get_conn(), endpoint, given)

    def explain(self, hook: InferenceEndpointsHook, error: InferenceEndpointError) -> InferenceEndpointError:
        """If the budget has ended the wait, the error says so, with its figures."""
        if not isinstance(error, InferenceEndpointTimeoutError) or not self.budget.ends_the_wait:
            return error
        return self.budget.error(hook.get_conn(), self._endpoint.name, self._endpoint.namespace, str(error))

    def handover(self) -> Handover:
        """The data for the deferral."""
        owned = self.ownership.owned
        return Handover(
            StartState(owned, self.budget.stored(), self.search).stored(),
            self.emergency.policy_of_trigger if owned else "none",
            self.ownership.attempt,
            self._holder,
        )

    def result(self, summary: Summary | None) -> Summary | None:
        """In a group, with what downstream tasks need. From now on, the lease's time is without the start's."""
        if not self._terms.in_group:
            self._tell_intent()
        if self._acquired is None or summary is None:
            return summary
        renew_acquired(self._acquired, self._endpoint.hf_endpoints_conn_id)
        account = self.budget.account  # with the cost of deleted choices of hardware
        return {**summary, **self._acquired.told(None if account is None else account.stored())}
