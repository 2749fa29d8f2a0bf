"""The start of an endpoint by one attempt: whose the endpoint is, what the start may cost, and its bad ends.

Create, resume and the start of a group each have one. What a start leaves behind at a bad end is released, so that it
stops billing. A teardown does not help there: Airflow runs it only where its setup succeeded.
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

from airflow_provider_hf_endpoints.endpoints.costs.budgets import BudgetSpentError, Limits
from airflow_provider_hf_endpoints.endpoints.errors import (
    InferenceEndpointError,
    InferenceEndpointTimeoutError,
    InvalidArgumentError,
    ServiceError,
    ServiceUnreachableError,
)
from airflow_provider_hf_endpoints.endpoints.models import NEEDS_RESUME, InferenceEndpoint, InferenceEndpointStatus
from airflow_provider_hf_endpoints.endpoints.upkeep.release import Release
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.leases.lately import as_left_lately, note_lately
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
from airflow_provider_hf_endpoints.operators.using.held_back import check_skips, refuse_work_that_is_held_back
from airflow_provider_hf_endpoints.operators.using.leases import renew_acquired
from airflow_provider_hf_endpoints.ownership import Ownership, has_left_claim, leave_claim, withdraw_claim

log = logging.getLogger(__name__)

_ACCOUNT_LIMIT = 2.0  # seconds for each request about the cost of an endpoint that is to be released


@dataclass(frozen=True)
class StartTerms:
    """What the DAG says of a start; checked when the DAG is read.

    :param policies: what happens to the endpoint at the bad ends, where this task has started it
    :param limits: of the start alone
    :param in_group: whether the start belongs to an endpoint that was acquired
    :param keep: whether the endpoint is to stay when the run has ended; None: see `intent.py`
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
        """Raises `ValueError` for what can't be meant."""
        return cls(check_policies(**policies), Limits.of(max_cost, max_runtime), acquired is not None, keep)


class Start(Guard):
    """One attempt's start of an endpoint.

    :param acquired: what `AcquireInferenceEndpointOperator` returned, in a group
    :param stored: what a deferral has kept; None at the beginning of an attempt
    :param task: the operator: what is behind it in its DAG says what the start is for, where the terms don't
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
        self._holder: str | None = None  # of a lease on the endpoint, while it is held in a group
        self.holders = Holders(endpoint, context, None if self._acquired is None else self._acquired.held)
        self.emergency = EmergencyRelease(endpoint, terms.policies)
        self._keep = is_kept(False if terms.in_group and terms.keep is None else terms.keep, task, endpoint.name)
        self.ownership = Ownership(self._context, owned=state.started_here, keep=self._keep)
        self.search = state.search
        # A retry leaves `max_tries` alone, and a clear raises it: a retry goes on with the budget of the try before.
        key = f"try {getattr(self._context['ti'], 'max_tries', '')}"
        self.budget = StartBudget(terms.limits, key, None if self._acquired is None else self._acquired.budget)
        if stored is not None:
            self.budget.take_up(state.budget)

    # Around the attempt

    @contextmanager
    def around(self) -> Iterator[None]:
        """Release what this task has started where that goes wrong."""
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
            except Exception as error:  # no trigger comes to be, so this is the end of the attempt
                self._end_badly(error)
                raise
            raise
        except (Exception, AirflowTaskTimeout) as error:  # whatever it was: what was started must not go on billing
            self._end_badly(error)
            raise
        self.ownership.end()

    def _check_use(self) -> None:
        """In a group: note the use where a later clear finds it. Elsewhere: what is started here can be stopped."""
        if not self._terms.in_group:
            if self._begins:
                ends = stopped_by(self._task, self._endpoint.name)
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
        """Before a deferral: what others have to know of it is left in XCom."""
        ti, emergency = self._context["ti"], self.emergency
        if self.ownership.owned and not emergency.killed:
            leave_claim(ti, self.ownership.attempt)
            emergency.tell_namespace(ti)
            emergency.ask(ti)
        if emergency.killed:  # or the signal came when nothing was left to look at it but this
            if self.ownership.owned:
                emergency.release("on_kill")
            raise emergency.error() from None

    def _end_badly(self, error: BaseException) -> None:
        """Release; raises where another error than `error` is to be the task's."""
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
        """A deferral that Airflow ends brings none of its kwargs back: the claim says whether there is an endpoint."""
        if has_left_claim(self._context["ti"]):
            self.emergency.recall_namespace(self._context["ti"])
            self.emergency.release("on_timeout" if timeout else "on_failure")
            if self.emergency.released:
                withdraw_claim(self._context["ti"])
            self.ownership.end()

    def on_kill(self) -> None:
        """Release at once: this runs in a signal handler, shortly before the process is killed."""
        self.emergency.on_signal(act=self.ownership.owned)

    def check(self) -> None:
        """End the wait of a killed task."""
        self.emergency.check()

    # Before the requests

    def prepare(self, hook: InferenceEndpointsHook) -> None:
        """Once in each attempt, also where it was taken up after a deferral and goes on to start something."""
        if self.emergency.prepared:
            return
        self._place(hook)  # learnt before anything is started: a release has no time to ask the Hub for the namespace
        self.emergency.prepare(hook)
        if self.budget.is_set and self.budget.account is None:
            self.budget.open(*self.ownership.notes(hook.lease_path, *self._place(hook)), time.time())
        lease = None if self._acquired is None else self._acquired.held
        if lease is not None:
            self._holder = lease.holder
            # Asked now: a signal handler can't. A kill is not to stop it under others; the release asks for them, too.
            if other_users(hook.lease_path, *self._place(hook), lease.holder):
                self.emergency.leave_on_kill()

    def as_left(self, hook: InferenceEndpointsHook, seen: InferenceEndpoint) -> InferenceEndpoint:
        """The endpoint as a read shows it, or stopped where somebody has done that since, which reads may not show."""
        acquired = self._acquired
        lease = None if acquired is None else acquired.held
        if acquired is None or lease is None or acquired.found not in NEEDS_RESUME or seen.status in NEEDS_RESUME:
            return as_left_lately(hook.lease_path, seen)
        if time.time() - lease.acquired > READ_LAG:
            return seen
        return seen.model_copy(update={"status": acquired.found})  # to resume what runs by now does nothing

    def prepare_again(self) -> None:
        """What a deferral has handed over is this attempt's to release from its first moment on."""
        if not self.ownership.owned:
            return
        try:
            with InferenceEndpointsHook(self._endpoint.hf_endpoints_conn_id) as hook:
                self.prepare(hook)
        except LOOKUP_ERRORS as error:
            log.warning("If the task is killed now, endpoint %s cannot be released: %s", self._endpoint.name, error)

    @contextmanager
    def starting(self, hook: InferenceEndpointsHook, resumed: InferenceEndpoint | None = None) -> Iterator[None]:
        """Around the request that starts the endpoint: from its answer on, or where that is lost, it is this task's.

        :param resumed: the endpoint, where it is resumed. What is created carries a tag; this has to be noted first.
        """
        self.check()  # a killed task starts nothing
        if resumed is not None:
            self.ownership.note_resume(resumed)
        self._note_start(hook)
        note_lately(hook.lease_path, *self._place(hook), InferenceEndpointStatus.RUNNING)
        try:
            yield
        except ServiceUnreachableError:
            raise  # it never arrived
        except ServiceError:
            self.ownership.owned = True
            raise
        self.ownership.owned = True

    def lose(self) -> None:
        """Before the endpoint is deleted: what it has cost stays in the account, also for a retry. Never raises."""
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
        if self.ownership.notes_starts:
            self.ownership.note_start(hook.lease_path, *self._place(hook), self.budget.stored())

    def _tell_intent(self) -> None:
        """An endpoint that ran already is kept as well from now on: whoever started it may be done with it."""
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
        """The budget has a say, too."""
        return self.budget.deadline(hook.get_conn(), endpoint, given)

    def explain(self, hook: InferenceEndpointsHook, error: InferenceEndpointError) -> InferenceEndpointError:
        """A wait that the budget has ended says so, with its figures."""
        if not isinstance(error, InferenceEndpointTimeoutError) or not self.budget.ends_the_wait:
            return error
        return self.budget.error(hook.get_conn(), self._endpoint.name, self._endpoint.namespace, str(error))

    def handover(self) -> Handover:
        """What the deferral takes along."""
        owned = self.ownership.owned
        return Handover(
            StartState(owned, self.budget.stored(), self.search).stored(),
            self.emergency.policy("on_kill") if owned else "none",
            self.ownership.attempt,
            self._holder,
        )

    def result(self, summary: Summary | None) -> Summary | None:
        """In a group with what the tasks behind need; from now on the lease counts without the start's time."""
        if not self._terms.in_group:
            self._tell_intent()
        if self._acquired is None or summary is None:
            return summary
        renew_acquired(self._acquired, self._endpoint.hf_endpoints_conn_id)
        account = self.budget.account  # with what choices of hardware have cost that are gone
        return {**summary, **self._acquired.told(None if account is None else account.stored())}
