"""What becomes of an endpoint that a task started and that then did not get ready: released, so that it stops billing.

A teardown does not help there: Airflow runs it only where its setup succeeded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, Context, TaskDeferred

from airflow_provider_hf_endpoints._airflow import TaskDeferralError, TaskDeferralTimeout
from airflow_provider_hf_endpoints.endpoints.costs.budgets import BudgetSpentError, Limits
from airflow_provider_hf_endpoints.endpoints.errors import (
    InferenceEndpointTimeoutError,
    ServiceError,
    ServiceUnreachableError,
)
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.upkeep.release import Release
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.leases.notes import StartNotes, start_note
from airflow_provider_hf_endpoints.operators._base import EndpointOperator, TaskKilledError
from airflow_provider_hf_endpoints.operators._budget import StartBudget
from airflow_provider_hf_endpoints.operators._claim import Resumes, attempt_of, claim_of
from airflow_provider_hf_endpoints.operators._rescue import Rescue, check_policies
from airflow_provider_hf_endpoints.operators._waiting import LOOKUP_ERRORS
from airflow_provider_hf_endpoints.triggers._killed import CLAIM_KEY

_ACCOUNT_LIMIT = 20.0  # seconds to ask what an endpoint has cost that is to be released


class StartingOperator(EndpointOperator):
    """An operator that starts an endpoint, and releases what it started when that does not get ready.

    Each policy is `pause` (default), `scale_to_zero`, `delete` or `none`, and concerns only an endpoint that this
    task created or resumed: one that ran already is left alone.

    :param on_timeout: what becomes of the endpoint when it is not ready in time.
    :param on_failure: when it failed to start, or the wait for it ended with an error.
    :param on_kill: when the task is killed while it waits, on a worker or deferred. A task that is cleared keeps the
        endpoint: its next attempt takes it up.
    :param max_cost: USD that the start may cost, over all tries of the task and all choices of hardware; a cleared task
        gets a new budget. What can't pay for one billed minute is not started. When it is used up before the endpoint
        is ready, `on_timeout` applies and the task fails for good. Default no limit.
    :param max_runtime: the same in seconds (or a timedelta) of wall-clock time from the first try on. Default no limit.

    Other parameters: see `EndpointOperator`.
    """

    _announces = True

    def __init__(
        self,
        *,
        on_timeout: Release = "pause",
        on_failure: Release = "pause",
        on_kill: Release = "pause",
        max_cost: float | None = None,
        max_runtime: float | timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.release_policies = check_policies({"on_timeout": on_timeout, "on_failure": on_failure, "on_kill": on_kill})
        self.max_cost = max_cost
        self.max_runtime = max_runtime
        self._limits = Limits.of(max_cost, max_runtime)
        self._begin(None)

    def _begin(self, context: Context | None, *, started_here: bool = False) -> None:
        """A new attempt, or what is left of it after a deferral."""
        self._started_here = started_here
        self._rescue = Rescue(self)
        self._claim = None if context is None else claim_of(context["ti"])
        self._attempt = None if context is None else attempt_of(context["ti"])
        self._resumes = Resumes.of(context)
        self._note = None if context is None else start_note(context["ti"], time.time())
        # A retry leaves `max_tries` alone, and a clear raises it: a retry goes on with the budget of the try before.
        key = "" if context is None else f"try {getattr(context['ti'], 'max_tries', '')}"
        self._budget = StartBudget(self._limits, key, self._shared_budget())

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Start the endpoint; release it again where that goes wrong."""
        self._begin(context)
        with self._handing_over(context):
            return self._guarded(lambda: super(StartingOperator, self).execute(context))

    def execute_complete(
        self,
        context: Context,
        event: dict[str, Any] | None = None,
        started_here: bool = False,
        budget: dict[str, Any] | None = None,
    ) -> dict[str, Any] | None:
        """Take up what the trigger found; release the endpoint where it did not get ready."""
        self._begin(context, started_here=started_here)
        self._budget.take_up(budget)
        with self._handing_over(context):
            return self._guarded(lambda: super(StartingOperator, self).execute_complete(context, event))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """As Airflow's; releases, too, where Airflow ended the wait: the trigger broke, or its time limit passed."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralError, TaskDeferralTimeout) as error:
            ti = context["ti"]
            if ti.xcom_pull(task_ids=ti.task_id, key=CLAIM_KEY, map_indexes=ti.map_index):
                self._begin(context, started_here=True)
                self._rescue.release("on_timeout" if isinstance(error, TaskDeferralTimeout) else "on_failure")
                self._resumes.forget()
            raise

    @contextmanager
    def _handing_over(self, context: Context) -> Iterator[None]:
        """Around what may end in a deferral: what others have to know of it is left in XCom."""
        try:
            yield
        except TaskDeferred:
            if self._started_here and not self._rescue.killed:
                # A deferral that Airflow itself ends (`__fail__`) brings none of its kwargs back. And a trigger reads
                # here whose the endpoint is: a new attempt begins without it, and writes its own.
                context["ti"].xcom_push(key=CLAIM_KEY, value=self._attempt or True)
                self._rescue.ask(context["ti"])
            if self._rescue.killed:  # or the signal came when nothing was left to look at it but this
                if self._started_here:
                    self._rescue.release("on_kill")
                raise self._rescue.error() from None
            raise

    def on_kill(self) -> None:
        """Release at once: this runs in a signal handler, shortly before the process is killed."""
        self._rescue.on_signal(act=self._started_here)

    def _prepare(self, hook: InferenceEndpointsHook) -> None:
        self._rescue.prepare(hook)
        self._hook = hook
        if self._budget.is_set and self._budget.account is None:
            namespace = self.namespace or hook.get_conn().default_namespace()
            note = StartNotes(hook.lease_path).read(namespace, self.endpoint)
            self._budget.open(note, self._note, time.time())

    def _shared_budget(self) -> Mapping[str, Any] | None:
        """The account of the use that the start begins. Overridden where there is one."""
        return None

    @contextmanager
    def _starting(self, resumed: InferenceEndpoint | None = None) -> Iterator[None]:
        """Around the request that starts the endpoint: from its answer on, or where that is lost, it is this task's.

        :param resumed: the endpoint, where it is resumed. What is created carries a tag; this has to be noted first.
        """
        self._check_on()  # a killed task starts nothing
        if resumed is not None:
            self._resumes.note(resumed)
        self._note_start(self._hook)
        try:
            yield
        except ServiceUnreachableError:
            raise  # it never arrived
        except ServiceError:
            self._started_here = True
            raise
        self._started_here = True

    def _note_start(self, hook: InferenceEndpointsHook) -> None:
        """Tell the sweeper whose the endpoint is, which no tag says of a resume."""
        if self._note is not None:
            note = replace(self._note, budget=self._budget.stored())
            namespace = self.namespace or hook.get_conn().default_namespace()
            StartNotes(hook.lease_path).write(namespace, self.endpoint, note)

    def _lose(self) -> None:
        """Before the endpoint is deleted: what it has cost stays in the account, also for a retry. Never raises."""
        if not self._budget.is_set:
            return
        try:
            with InferenceEndpointsHook(self.hf_endpoints_conn_id) as hook:
                hook.get_conn().limit(_ACCOUNT_LIMIT)
                self._budget.lose(hook.get_conn(), self.endpoint, self.namespace)
                self._note_start(hook)
        except LOOKUP_ERRORS as error:
            self.log.warning("What endpoint %s has cost is not in the account: %s", self.endpoint, error)

    def _take_up(self, endpoint: InferenceEndpoint) -> None:
        """An endpoint that an attempt before this one resumed, and that nobody has released since, is this task's."""
        if self._resumes.noted(endpoint):
            self._started_here = True
            self.log.info("Endpoint %s was resumed by an earlier attempt of this task.", endpoint.name)

    def _guarded(self, run: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
        try:
            summary = run()
            self._check_on()
        except Exception as error:  # whatever it was: what this task started must not go on billing
            if self._started_here:
                why = "on_timeout" if isinstance(error, InferenceEndpointTimeoutError) else "on_failure"
                if self.release_policies[why] == "delete" and not self._rescue.killed:
                    self._lose()
                self._rescue.release(why)
            if self._rescue.released:
                self._resumes.forget()
            if self._rescue.killed and not isinstance(error, TaskKilledError):
                raise self._rescue.error() from error
            if isinstance(error, BudgetSpentError):
                raise AirflowFailException(str(error)) from error  # a retry would have the same budget
            raise
        self._resumes.forget()  # the endpoint is the DAG's now, and what comes after this task ends it
        return summary

    def _check_on(self) -> None:
        self._rescue.check()

    def _deferral_kwargs(self) -> dict[str, Any]:
        kwargs: dict[str, Any] = {"started_here": True} if self._started_here else {}
        budget = self._budget.stored()
        return kwargs if budget is None else {**kwargs, "budget": budget}

    def _deadline(self, hook: InferenceEndpointsHook, endpoint: InferenceEndpoint, given: float | None) -> float | None:
        return self._budget.deadline(hook.get_conn(), endpoint, given)

    def _conclude(self, event: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            return super()._conclude(event)
        except InferenceEndpointTimeoutError as error:
            if not self._budget.ends_the_wait:
                raise
            why = str(error)
        with InferenceEndpointsHook(self.hf_endpoints_conn_id) as hook:
            raise self._budget.error(hook.get_conn(), self.endpoint, self.namespace, why)

    def _release_on_kill(self) -> Release:
        return self.release_policies["on_kill"] if self._started_here else "none"
