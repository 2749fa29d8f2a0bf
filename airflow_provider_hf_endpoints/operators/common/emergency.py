"""The release of an endpoint at the bad end of an attempt: once, within its time, and from a signal handler too.

Operators that start an endpoint and the sensor that waits for one have it; whether to release is theirs to say. If
somebody else has deleted the endpoint of this run and created another one with its name, that one is left as it is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

from airflow_provider_hf_endpoints._airflow import AirflowRuntimeError
from airflow_provider_hf_endpoints.endpoints.api import flows
from airflow_provider_hf_endpoints.endpoints.api.flows import Session
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.upkeep.release import Release, state_after, unless_paused
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.leases.notes import StartNote, StartNotes
from airflow_provider_hf_endpoints.leases.recent_changes import note_lately
from airflow_provider_hf_endpoints.operators.common.errors import TaskKilledError
from airflow_provider_hf_endpoints.operators.common.naming import EndpointRef
from airflow_provider_hf_endpoints.operators.common.task_waits import LOOKUP_ERRORS
from airflow_provider_hf_endpoints.ownership import is_anothers, leave_namespace, left_namespace
from airflow_provider_hf_endpoints.triggers.killed import is_over

log = logging.getLogger(__name__)

_NOT_RELEASED = "Endpoint %s could not be released (%s) and MAY STILL BE BILLING. Pause or delete it by hand. %s"

# Between SIGTERM and SIGKILL a worker gives about 5 seconds.
KILL_BUDGET = 4.0  # seconds
# Elsewhere nothing presses, and the endpoint bills until it succeeds.
RELEASE_BUDGET = 300.0  # seconds
_LOOK = 1.0  # seconds for a look at the endpoint before its release

BadEnd = Literal["on_timeout", "on_failure", "on_kill"]
Policies = Mapping[str, Release]


def check_policies(on_timeout: Release, on_failure: Release, on_kill: Release) -> Policies:
    """The policies by the bad end, when each is one; a misspelt one is refused when the DAG is read."""
    policies = {"on_timeout": on_timeout, "on_failure": on_failure, "on_kill": on_kill}
    for name, policy in policies.items():
        if policy not in get_args(Release):
            raise ValueError(f"{name}={policy!r} is not valid. Use one of {', '.join(get_args(Release))}.")
    return policies


class EmergencyRelease:
    """One attempt's: made when it begins, `prepare`d with its connection, and done with after one release.

    :param run: the DAG and the run of the task, whose start note says which endpoint is meant; None without a run
    :param restores: whether `pause` means scale to zero for an endpoint that the run found scaled to zero
    :param is_left: whether others use the endpoint, so that it is left to them in place of that release
    :ivar note: that note, as long as it is known; None: the name is all that is known
    """

    def __init__(
        self,
        endpoint: EndpointRef,
        policies: Policies,
        run: tuple[str, str] | None = None,
        *,
        restores: bool = False,
        is_left: Callable[[Release], bool] = lambda _: False,
    ) -> None:
        self._restores = restores
        self._run = run
        self.note: StartNote | None = None
        self._endpoint = endpoint
        self._policies = dict(policies)
        self._spare: EndpointsClient | None = None
        self._in_handler: EndpointsClient | None = None
        self._session: Session | None = None  # of the task's own client
        self._hook: InferenceEndpointsHook | None = None
        self.killed = False
        self.over = False  # whether the bad end has been dealt with: Airflow calls `on_kill` after a timeout, too
        self.released = False
        self._left_on_kill = False
        self._is_left = is_left

    def policy(self, why: BadEnd) -> Release:
        """What happens to the endpoint at that end.

        A request wakes an endpoint at zero, but not a paused one. So an endpoint that was at zero goes back to zero:
        its other users do not have to resume it.
        """
        return "none" if why == "on_kill" and self._left_on_kill else self._by(why)

    @property
    def policy_of_trigger(self) -> Release:
        """What a trigger does at a kill, unless others use the endpoint at that moment: a trigger can ask then."""
        return self._by("on_kill")

    def _by(self, why: BadEnd) -> Release:
        policy = self._policies[why]
        woken = self._restores and self.note is not None and self.note.woken
        return "scale_to_zero" if policy == "pause" and woken else policy

    def leave_on_kill(self) -> None:
        """Others use the endpoint: a kill does nothing to it."""
        self._left_on_kill = True

    def prepare(self, hook: InferenceEndpointsHook) -> None:
        """Look the connection up while there is time.

        The signal handler may have interrupted the task's client in the middle of a request. A look-up in the handler
        could wait for a lock that the interrupted code has. So the handler has a separate client. It uses the
        namespace that the task's client has learnt, because the Hub limits requests and a release must not wait for
        the Hub.
        """
        self._session, self._hook = hook.get_conn().session, hook
        self._spare, self._in_handler = hook.fresh_client(), hook.fresh_client()

    def read_note(self, hook: InferenceEndpointsHook) -> None:
        """Read which endpoint this run has started. A signal handler cannot."""
        namespace = self._namespace()
        if self._run is None or namespace is None or not self._may_act:
            return
        note = StartNotes(hook.kept_at).read(namespace, self._endpoint.name, run=self._run)
        self.note = note or self.note

    def prepare_again(self) -> None:
        """After a deferral, where something may have to be done. Raises nothing: the wait is over."""
        if not self._may_act:
            return
        try:
            with InferenceEndpointsHook(self._endpoint.hf_endpoints_conn_id) as hook:
                self.prepare(hook)
                self.read_note(hook)
        except LOOKUP_ERRORS as error:
            log.warning("If the task is killed now, endpoint %s cannot be released: %s", self._endpoint.name, error)

    @property
    def prepared(self) -> bool:
        """Whether that has been done."""
        return self._spare is not None

    def tell_namespace(self, task_instance: Any) -> None:
        """Before a deferral: leave the namespace where `recall_namespace` finds it."""
        namespace = self._namespace()
        if self._may_act and self._endpoint.namespace is None and namespace is not None:
            leave_namespace(task_instance, namespace)

    def recall_namespace(self, task_instance: Any) -> None:
        """After a deferral: take the namespace that was left before the deferral."""
        if not self._may_act or self._endpoint.namespace is not None:
            return
        self._endpoint = replace(self._endpoint, namespace=left_namespace(task_instance))

    @property
    def _may_act(self) -> bool:
        return any(policy != "none" for policy in self._policies.values())

    def _namespace(self) -> str | None:
        """None if the namespace is not known yet."""
        return self._endpoint.namespace or (None if self._session is None else self._session.namespace)

    def on_signal(self, *, act: bool) -> None:
        """In the signal handler: note the kill, and release at once if `act` is true."""
        if self.over:
            return
        self.killed = True
        if act:
            done = self._release("on_kill", KILL_BUDGET, self._in_handler)
            if done == "scale_to_zero" and self._session is not None and self._session.calling:
                self.released = False  # the interrupted request may wake the endpoint; the attempt's end releases again

    def ask(self, task_instance: Any) -> None:
        """Note a kill whose signal has not arrived: ask whether a person has ended the task that is about to defer.

        If a person marks a running task as failed, the process learns that up to one heartbeat later (5 s). By then
        Airflow has refused the deferral. So there is neither a signal nor a trigger that could release the endpoint.
        """
        ask = getattr(task_instance, "get_task_states", None)
        try:
            self.killed = self.killed or (ask is not None and is_over(task_instance, ask))
        except AirflowRuntimeError as error:
            log.warning("Could not read from Airflow whether this task was ended: %s", error)

    def release(self, why: BadEnd) -> None:
        """By the policy `why`, or by `on_kill` where the task was killed: the handler may have come too early for it,
        before it was known that the endpoint is there.
        """
        if self.killed:
            self._release("on_kill", KILL_BUDGET, self._spare)
            if self._left_on_kill:  # behind the rest: a signal handler has no time for the note
                self._is_left(self._by("on_kill"))
        elif not self.released and self.policy(why) != "none" and self._is_left(self.policy(why)):
            self.released = True
        else:
            if done := self._release(why, RELEASE_BUDGET, self._spare):
                self._note(done)

    def _note(self, policy: Release) -> None:
        """Starts must not trust a read that lags. Behind the release, which no lease store may delay; a signal handler
        has no time for the note.
        """
        namespace = self._namespace()
        if self._hook is not None and namespace is not None:
            note_lately(self._hook.kept_at, namespace, self._endpoint.name, state_after(policy, None))

    def error(self) -> TaskKilledError:
        """What a killed task raises."""
        return TaskKilledError.while_waiting(self._endpoint.name)

    def check(self) -> None:
        """End the wait of a killed task."""
        if self.killed:
            raise self.error()

    def _release(self, why: BadEnd, budget: float, client: EndpointsClient | None) -> Release | None:
        """Once; a second call tries only what the first could not do. What this call has done; None for nothing."""
        endpoint = self._endpoint
        if self.released or self.policy(why) == "none":
            return None
        try:
            client = client or self._client_after_airflow()
        except LOOKUP_ERRORS as error:
            log.error(_NOT_RELEASED, endpoint.name, self.policy(why), error)
            return None
        policy = self.policy(why)  # by the note, which may be read only now
        with client:
            began = time.monotonic()
            found = self._look(client)
            if self.released:  # by the signal handler, during the look
                return None
            if found is not None and self.note is not None and is_anothers(found, self.note):
                return None
            policy = unless_paused(policy, found)
            client.limit(budget - (time.monotonic() - began))
            try:
                done = client.release(endpoint.name, policy, namespace=self._namespace())
            except InferenceEndpointError as error:  # logged: the error that led here must be raised
                log.error(_NOT_RELEASED, endpoint.name, policy, error)
                return None
            self.released = True
        log.warning("Endpoint %s did not become ready; it is now %s.", endpoint.name, done)
        return policy

    def _client_after_airflow(self) -> EndpointsClient:
        """Nothing is prepared where Airflow has ended a wait. It calls no signal handler then."""
        with InferenceEndpointsHook(self._endpoint.hf_endpoints_conn_id) as hook:
            self.read_note(hook)
            return hook.fresh_client()

    def _look(self, client: EndpointsClient) -> InferenceEndpoint | None:
        """What has the name of this run's endpoint now. None in doubt: then it is the same one, which costs money."""
        if self.note is None:
            return None
        client.limit(_LOOK)
        try:
            return client.run(flows.find(client.session, self._endpoint.name, self._namespace()))
        except InferenceEndpointError as error:
            log.warning(
                "Could not read whether endpoint %s was replaced since its start: %s", self._endpoint.name, error
            )
            return None
