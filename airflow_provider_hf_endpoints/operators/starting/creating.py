"""What a create does: look for the endpoint, then create, reuse, update or replace it, on one hardware or several."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_hf_endpoints.endpoints.api import flows
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.costs.budgets import BudgetSpentError
from airflow_provider_hf_endpoints.endpoints.errors import (
    ApiError,
    EndpointFailedError,
    EndpointTakenAwayError,
    InferenceEndpointError,
    InvalidArgumentError,
    NameTakenError,
)
from airflow_provider_hf_endpoints.endpoints.models import BROKEN, Hardware, InferenceEndpoint, InferenceEndpointStatus
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec, EndpointUpdate
from airflow_provider_hf_endpoints.endpoints.upkeep.hardware import HardwareOrder, check_choices, choose, shortage
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.operators.common.attempt import Action, Done, Sent, Summary
from airflow_provider_hf_endpoints.operators.common.held import Holders
from airflow_provider_hf_endpoints.operators.common.secrets import SecretArguments
from airflow_provider_hf_endpoints.operators.starting.budget import Starts
from airflow_provider_hf_endpoints.operators.starting.hardware import create_on_next, give_up_choice, refuse_shortage
from airflow_provider_hf_endpoints.operators.starting.plan import (
    Create,
    IfExists,
    Plan,
    Recreate,
    Refuse,
    Reuse,
    Update,
    plan,
)
from airflow_provider_hf_endpoints.operators.starting.search import Search
from airflow_provider_hf_endpoints.operators.starting.start import Start
from airflow_provider_hf_endpoints.ownership import creator_tags_in

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """The endpoint that a create wants, with rendered values.

    :param spec: makes the spec, on one of the choices if there are any
    :param task_of_work: the task of a new endpoint if `spec` has no task. An existing endpoint may have another task
    :param holders: the other holders of the endpoint; None to act without asking
    :param hardware: the choices; None for the one place in `spec`
    :param waits: whether the task waits for the endpoint, which wakes one at zero
    """

    name: str
    namespace: str | None
    hf_endpoints_conn_id: str
    spec: Callable[[Hardware | None], EndpointSpec]
    min_replica: int
    hardware: Sequence[str] | str | None
    hardware_order: HardwareOrder
    if_exists: IfExists
    preflight: bool
    secrets: SecretArguments
    holders: Holders | None
    task_of_work: str | None = None
    waits: bool = True

    def paths(self) -> list[str]:
        """The choices, after a check."""
        return list(check_choices(self.hardware, self.hardware_order))

    def starts(self, place: EndpointSpec | Hardware) -> Starts:
        """The start of the endpoint on this hardware."""
        return Starts(self.name, self.namespace, place.place, max(1, int(self.min_replica)))  # a template gives text


class Creating(Action):
    """Create the endpoint or reuse an existing one. The start owns the endpoint if it has started it."""

    def __init__(self, wanted: Wanted, start: Start, began: float) -> None:
        self._wanted, self._start, self._began = wanted, start, began

    def check(self) -> None:
        """Check the whole specification, on each of the choices."""
        if self._wanted.hardware is None:
            self._wanted.spec(None)
            return
        for path in self._wanted.paths():
            vendor, region, instance_type, size = path.split("/")
            place = {"vendor": vendor, "region": region, "instance_type": instance_type, "instance_size": size}
            self._wanted.spec(Hardware(**place, accelerator="not looked up yet"))

    def act(self, hook: InferenceEndpointsHook) -> Sent | Done:
        """Look for the endpoint, and carry out the plan."""
        wanted = self._wanted
        if wanted.min_replica not in (0, "0", None):  # a template gives text
            log.warning(
                "Endpoint %s has min_replica=%s: it never scales to zero, and bills until it is paused or deleted.",
                wanted.name,
                wanted.min_replica,
            )
        client = hook.get_conn()
        for _ in range(2):
            existing = _find(client, wanted.name, wanted.namespace)
            existing = existing and self._start.as_left(hook, existing)
            own = existing is not None and self._start.take_up(hook, existing)
            try:
                if wanted.hardware is not None:
                    return self._act_on_choices(hook, existing, own)
                spec = wanted.spec(None)
                decision = plan(spec, existing, wanted.if_exists, own=own)
                endpoint, resumed = self._carry_out(hook, spec, existing, decision)
            except NameTakenError as error:
                if wanted.if_exists == "fail" or existing is not None or error.retryable:
                    raise
                log.info("Another task created endpoint %s in the meantime.", wanted.name)
                continue
            return Sent(endpoint, self._began, resumed=resumed)
        raise InvalidArgumentError(
            f"name={wanted.name!r}: another client keeps creating and deleting an endpoint with this name. Choose "
            "another name."
        )

    def secrets(self) -> Sequence[str]:
        """The secrets among the arguments."""
        return self._wanted.secrets.values()

    def result(self, summary: Summary | None) -> Summary | None:
        """In a group, with what downstream tasks need."""
        return self._start.result(summary)

    # With several choices of hardware

    def _act_on_choices(self, hook: InferenceEndpointsHook, existing: InferenceEndpoint | None, own: bool) -> Sent:
        client, wanted, start = hook.get_conn(), self._wanted, self._start
        offered = client.list_inference_endpoints_hardware(namespace=wanted.namespace)
        chosen = choose(wanted.paths(), offered, wanted.hardware_order)
        search = start.search = Search(tuple(each.path for each in chosen), self._began)
        if existing is None:
            return self._try_next(hook, search)
        if own and existing.status == InferenceEndpointStatus.FAILED:
            self._remove(client, "an earlier attempt of this task created it, and it failed")
            return self._try_next(hook, search)
        here = next((each for each in chosen if each.path == existing.hardware), None)
        spec = wanted.spec(here or chosen[0])
        decision = plan(spec, existing, wanted.if_exists, own=own)
        if isinstance(decision, Recreate):
            start.budget.check(client, *map(wanted.starts, chosen))
            self._refuse_held(hook, existing, "replaced (if_exists='recreate')")
            self._remove(client, "if_exists='recreate'")
            return self._try_next(hook, search)
        # The endpoint exists, and only an endpoint that this task has created may be deleted for another choice.
        after = search.left[search.left.index(here.path) + 1 :] if here is not None else ()
        start.search = Search(after, self._began, at=here.path) if own and here is not None else None
        endpoint, resumed = self._carry_out(hook, spec, existing, decision)
        return Sent(endpoint, self._began, resumed=resumed)

    def _try_next(self, hook: InferenceEndpointsHook, search: Search) -> Sent:
        """Create on the first available one of the remaining choices."""
        client, wanted, start = hook.get_conn(), self._wanted, self._start
        offered = client.list_inference_endpoints_hardware(namespace=wanted.namespace)
        left = search.left
        try:
            too_dear = start.budget.check(client, *(wanted.starts(each) for each in offered if each.path in left))
        except BudgetSpentError as error:
            raise BudgetSpentError("\n".join([str(error), *filter(None, [search.report()])])) from error

        def refusal(choice: Hardware) -> str | None:
            start.check()
            problem = too_dear.get(choice.place)
            return shortage(choice, offered) if problem is None and wanted.preflight else problem

        start.search, endpoint = create_on_next(
            search,
            offered,
            name=wanted.name,
            refusal=refusal,
            attempt=lambda choice: self._create(hook, wanted.spec(choice), checked=True),
        )
        return Sent(endpoint, start.search.started, resumed=True)

    def go_on(self, hook: InferenceEndpointsHook, error: InferenceEndpointError) -> Sent:
        """If an endpoint failed to start, delete it and try the next choice.

        :raises EndpointTakenAwayError: the existing endpoint was deleted meanwhile
        """
        start, name = self._start, self._wanted.name
        if not isinstance(error, EndpointFailedError):
            raise error
        start.prepare(hook)
        client = hook.get_conn()
        existing = _find(client, name, self._wanted.namespace)
        if existing is None and not start.ownership.owned:
            raise EndpointTakenAwayError(
                f"Endpoint {name!r} existed when this task began to wait, and was deleted since: by the release of "
                "another DAG run, or by a person. A retry creates the endpoint."
            ) from error
        if start.search is None:
            raise error
        failed_start = existing is not None and existing.status == InferenceEndpointStatus.FAILED
        if not failed_start or not (start.ownership.owned or start.ownership.has_created(existing)):
            raise error  # paused or deleted by somebody, so other hardware does not help
        search = start.search = give_up_choice(start.search, str(error))
        self._remove(client, "it failed to start")
        return self._try_next(hook, search)

    # The steps

    def _refuse_held(self, hook: InferenceEndpointsHook, existing: InferenceEndpoint | None, done: str) -> None:
        """Delete a broken endpoint: it serves no requests."""
        if self._wanted.holders is not None and existing is not None and existing.status not in BROKEN:
            self._wanted.holders.refuse(hook, done)

    def _remove(self, client: EndpointsClient, why: str) -> None:
        """Delete the endpoint, and wait until its name is free."""
        wanted, ownership = self._wanted, self._start.ownership
        log.info("Deleting endpoint %s: %s.", wanted.name, why)
        if ownership.owned:
            self._start.lose()
        client.delete_inference_endpoint(wanted.name, namespace=wanted.namespace, missing_ok=True)
        ownership.owned = False

    def _carry_out(
        self, hook: InferenceEndpointsHook, spec: EndpointSpec, existing: InferenceEndpoint | None, decision: Plan
    ) -> tuple[InferenceEndpoint, bool]:
        """Carry the plan out. Returns the endpoint, and whether it was created or resumed."""
        client, wanted, start = hook.get_conn(), self._wanted, self._start
        match decision:
            case Refuse(reason=reason):
                raise InvalidArgumentError(reason)
            case Create():
                return self._create(hook, spec), True
            case Recreate():
                self._check_hardware(client, spec, replaces=existing)
                start.budget.check(client, wanted.starts(spec))
                self._refuse_held(hook, existing, "replaced (if_exists='recreate')")
                self._remove(client, "if_exists='recreate'")
                return self._create(hook, spec, checked=True), True
            case Update(resume=resume):
                assert existing is not None
                self._refuse_held(hook, existing, "updated (if_exists='update')")
                change = EndpointUpdate.from_arguments(**_update_arguments(spec, existing))
                endpoint = client.update(spec.name, change, namespace=wanted.namespace)
                log.info("Updated endpoint %s (status: %s).", spec.name, endpoint.status)
                if resume:
                    endpoint = client.settle(endpoint, on_look=lambda _: start.check())
            case Reuse(resume=resume):
                assert existing is not None
                endpoint = existing
                log.info("Reusing endpoint %s/%s (status: %s).", endpoint.namespace, endpoint.name, endpoint.status)
        wakes = existing is not None and existing.status == InferenceEndpointStatus.SCALED_TO_ZERO
        if not resume and not wakes:
            return endpoint, False
        start.budget.check(client, Starts.again(endpoint))
        if wakes and wanted.waits:  # by the requests of the wait
            with start.starting(hook, resumed=existing):
                return endpoint, False
        log.info("Resuming endpoint %s.", spec.name)
        with start.starting(hook, resumed=existing):
            return client.resume_inference_endpoint(spec.name, namespace=wanted.namespace), True

    def _create(self, hook: InferenceEndpointsHook, spec: EndpointSpec, *, checked: bool = False) -> InferenceEndpoint:
        client, wanted, start = hook.get_conn(), self._wanted, self._start
        if not checked:
            self._check_hardware(client, spec)
        start.budget.check(client, wanted.starts(spec))
        if spec.task is None and wanted.task_of_work is not None:
            spec = spec.model_copy(update={"task": wanted.task_of_work})
        with start.starting(hook):
            endpoint = client.create(start.ownership.tagged(spec), namespace=wanted.namespace)
        log.info("Created endpoint %s/%s (status: %s).", endpoint.namespace, endpoint.name, endpoint.status)
        return endpoint

    def _check_hardware(
        self, client: EndpointsClient, spec: EndpointSpec, replaces: InferenceEndpoint | None = None
    ) -> None:
        if self._wanted.preflight:
            refuse_shortage(spec, self._offered(client), replaces)

    def _offered(self, client: EndpointsClient) -> list[Hardware]:
        try:
            return client.list_inference_endpoints_hardware(namespace=self._wanted.namespace)
        except ApiError as error:
            log.warning("Could not check the hardware before the create: %s", error)
            return []


def _find(client: EndpointsClient, name: str, namespace: str | None) -> InferenceEndpoint | None:
    return client.run(flows.find(client.session, name, namespace))


def _update_arguments(spec: EndpointSpec, existing: InferenceEndpoint) -> dict[str, Any]:
    """The settings of a create for an update, with the secrets looked up again. Creator tags stay on the endpoint."""
    arguments = {name: getattr(spec, name) for name in EndpointUpdate.model_fields}
    if spec.tags is not None:
        arguments["tags"] = [*spec.tags, *creator_tags_in(existing.tags)]
    if spec.secrets is not None:
        arguments["secrets"] = {name: secret.get_secret_value() for name, secret in spec.secrets.items()}
    if spec.container_registry_password is not None:
        arguments["container_registry_password"] = spec.container_registry_password.get_secret_value()
    return {name: value for name, value in arguments.items() if value is not None}
