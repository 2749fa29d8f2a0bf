"""The operator that creates an endpoint, or takes, updates or replaces the one of that name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from airflow.providers.common.compat.sdk import Context

from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.costs.budgets import BudgetSpentError
from airflow_provider_hf_endpoints.endpoints.errors import (
    ApiError,
    EndpointFailedError,
    EndpointNotFoundError,
    InvalidArgumentError,
    NameTakenError,
)
from airflow_provider_hf_endpoints.endpoints.models import Hardware, InferenceEndpoint, InferenceEndpointStatus
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec, EndpointUpdate
from airflow_provider_hf_endpoints.endpoints.upkeep.hardware import HardwareOrder, check_choices, choose, shortage
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.operators._arguments import also_takes
from airflow_provider_hf_endpoints.operators._budget import Starts
from airflow_provider_hf_endpoints.operators._claim import claims_in, is_claimed, with_claim
from airflow_provider_hf_endpoints.operators._hardware import (
    PLACE,
    Place,
    check_place,
    create_on_next,
    give_up_choice,
    refuse_shortage,
)
from airflow_provider_hf_endpoints.operators._plan import Create, IfExists, Plan, Recreate, Refuse, Reuse, Update, plan
from airflow_provider_hf_endpoints.operators._release import StartingOperator
from airflow_provider_hf_endpoints.operators._search import Search
from airflow_provider_hf_endpoints.operators._secrets import Secret, mask_all, refuse_inline, refuse_shown, reveal_all

# Arguments that are the operator's attributes and templated; secrets are neither.
_TEMPLATED = tuple(name for name in EndpointSpec.model_fields if name not in ("secrets", "container_registry_password"))
# Those that have a parameter of their own.
_NAMED = [
    "name",
    "repository",
    "framework",
    *PLACE,
    "task",
    "min_replica",
    "max_replica",
    "scale_to_zero_timeout",
]
_OPTIONS = tuple(name for name in _TEMPLATED if name not in _NAMED)


class CreateInferenceEndpointOperator(StartingOperator):
    """Create an endpoint, or take the one of that name, and wait until it answers.

    The defaults don't bill for ever: no replica is kept (`min_replica=0`) and 15 idle minutes scale it to zero.

    :param name: lower-case letters, digits and '-', 32 at most. (templated)
    :param repository: the model's repository on the hub. (templated)
    :param framework: `pytorch`, `custom` or `llamacpp`. (templated)
    :param vendor, region, accelerator, instance_type, instance_size: the hardware, e.g. aws, us-east-1, gpu, nvidia-l4,
        x1. Checked against what the service offers before anything is created. (templated)
    :param hardware: in their place, choices written `vendor/region/instance_type/instance_size`, e.g.
        `["aws/us-east-1/nvidia-l4/x1", "gcp/us-east4/nvidia-l4/x1"]`. The next is tried where one has no capacity or
        no quota, or the endpoint failed to start on it, which is then deleted; `timeout` is for all together.
        (templated)
    :param hardware_order: `given` (default), or `price`: the cheapest first.
    :param namespace: the user or organisation; default the connection's, else the token's user. (templated)
    :param task: what the model is for, e.g. `text-generation`. (templated)
    :param min_replica, max_replica: the autoscaler's bounds; default 0 and 1. With `min_replica` above 0 the endpoint
        bills until somebody stops it. (templated)
    :param scale_to_zero_timeout: idle minutes, 15 to 2880; default 15. A backstop, not a switch. (templated)
    :param options: every other setting of `endpoints.spec.EndpointSpec`: `revision`, `custom_image`, `env`, `type`,
        `tags`, `container_args`, `tensor_parallel_size`, `scaling_metric`, … (templated)
    :param secrets, container_registry_password: values, `FromConnection(…)` or `FromVariable(…)`. Looked up when the
        task runs, masked, never rendered.
    :param if_exists: what to do about an endpoint of that name: `reuse` it (default; resumed if paused; an error when
        its model or hardware differ), `update` it to the settings given here, `fail`, or `recreate` it.
        An endpoint that an earlier attempt of the same task created (it carries a tag `airflow-task-…`) is taken up
        by its retry whatever is chosen here, but that `recreate` replaces one that failed.
    :param preflight: whether to check hardware, capacity and quota first; default True.

    Other parameters: see `StartingOperator`. Result: `{"name", "namespace", "state", "url"}`.
    """

    template_fields: Sequence[str] = (*_TEMPLATED, "hardware", "namespace", "hf_endpoints_conn_id")

    @also_takes(_OPTIONS)
    def __init__(
        self,
        *,
        name: str,
        repository: str,
        framework: str,
        vendor: str | None = None,
        region: str | None = None,
        accelerator: str | None = None,
        instance_type: str | None = None,
        instance_size: str | None = None,
        hardware: Sequence[str] | str | None = None,
        hardware_order: HardwareOrder = "given",
        task: str | None = None,
        min_replica: int = 0,
        max_replica: int | None = None,
        scale_to_zero_timeout: int | None = None,
        secrets: Mapping[str, Secret] | None = None,
        container_registry_password: Secret | None = None,
        if_exists: IfExists = "reuse",
        preflight: bool = True,
        **kwargs: Any,
    ) -> None:
        options = {field: kwargs.pop(field) for field in _OPTIONS if field in kwargs}
        super().__init__(**kwargs)
        refuse_inline(options.get("custom_image"))
        if if_exists not in get_args(IfExists):
            raise ValueError(f"if_exists={if_exists!r}: it is one of {', '.join(get_args(IfExists))}.")
        self.name = name
        self.repository = repository
        self.framework = framework
        self.vendor = vendor
        self.region = region
        self.accelerator = accelerator
        self.instance_type = instance_type
        self.instance_size = instance_size
        self.hardware = hardware
        self.hardware_order: HardwareOrder = hardware_order
        check_place({name: getattr(self, name) for name in PLACE}, hardware, hardware_order)
        self._search: Search | None = None
        self.task = task
        self.min_replica = min_replica
        self.max_replica = max_replica
        self.scale_to_zero_timeout = scale_to_zero_timeout
        self.if_exists = if_exists
        self.preflight = preflight
        self._secrets = secrets
        self._password = container_registry_password
        for field in _OPTIONS:
            setattr(self, field, options.get(field))

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """As every operator's; secrets only as references."""
        refuse_shown(kwargs)
        return super().partial(**kwargs)

    @property
    def endpoint(self) -> str:  # type: ignore[override]
        """The endpoint's name, as the other operators call it."""
        return self.name

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Create the endpoint or take what is there, and wait for it; release it again where that goes wrong."""
        self._search = None
        return super().execute(context)

    def execute_complete(
        self,
        context: Context,
        event: dict[str, Any] | None = None,
        started_here: bool = False,
        budget: dict[str, Any] | None = None,
        search: dict[str, Any] | None = None,
    ) -> dict[str, Any] | None:
        """Take up what the trigger found; go on with the next choice of hardware where the endpoint failed to start."""
        self._search = Search.of(search)
        return super().execute_complete(context, event, started_here, budget)

    def _deferral_kwargs(self) -> dict[str, Any]:
        return super()._deferral_kwargs() | ({"search": self._search.stored()} if self._search else {})

    def _check(self) -> None:
        if self.hardware is None:
            self._spec()
        else:
            for path in check_choices(self.hardware, self.hardware_order):
                vendor, region, instance_type, size = path.split("/")
                self._spec(Place(vendor, region, instance_type, size, accelerator="not looked up yet"))

    def _act(self, hook: InferenceEndpointsHook, started: float) -> dict[str, Any] | None:
        if self.min_replica:
            self.log.warning(
                "Endpoint %s keeps min_replica=%s: it never scales down, and bills until somebody stops it.",
                self.name,
                self.min_replica,
            )
        client = hook.get_conn()
        for _ in range(2):
            existing = _find(client, self.name, self.namespace)
            own = is_claimed(existing, self._claim)
            if own:
                self._started_here = True
                self.log.info("Endpoint %s was created by an earlier attempt of this task.", self.name)
            elif existing is not None:
                self._take_up(existing)
            try:
                if self.hardware is not None:
                    return self._act_on_choices(hook, started, existing, own)
                spec = self._spec()
                decision = plan(spec, existing, self.if_exists, own=own)
                endpoint, resumed = self._carry_out(client, spec, existing, decision)
            except NameTakenError:
                if self.if_exists == "fail" or existing is not None:
                    raise
                self.log.info("Another task has created endpoint %s in between.", self.name)
                continue
            return self._arrive(hook, endpoint, started, resumed=resumed)
        raise InvalidArgumentError(f"name={self.name!r}: an endpoint of that name comes and goes; choose another name.")

    def _spec(self, place: Hardware | Place | None = None) -> EndpointSpec:
        """The endpoint that is asked for, on `place` where there are choices."""
        given = {field: getattr(self, field) for field in _TEMPLATED if getattr(self, field) is not None}
        if place is not None:
            given |= {field: getattr(place, field) for field in PLACE}
        return EndpointSpec.from_arguments(**given, **reveal_all(self._secrets, self._password))

    def _starts(self, place: EndpointSpec | Hardware) -> Starts:
        where = (place.vendor, place.region, place.instance_type, place.instance_size)
        return Starts(self.name, self.namespace, where, max(1, int(self.min_replica)))  # it may come as text

    # With several choices of hardware

    def _act_on_choices(
        self, hook: InferenceEndpointsHook, started: float, existing: InferenceEndpoint | None, own: bool
    ) -> dict[str, Any] | None:
        client = hook.get_conn()
        paths = check_choices(self.hardware, self.hardware_order)
        chosen = choose(paths, client.list_inference_endpoints_hardware(namespace=self.namespace), self.hardware_order)
        self._search = Search(tuple(each.path for each in chosen), started)
        if existing is None:
            return self._try_next(hook)
        if own and existing.status == InferenceEndpointStatus.FAILED:
            self._remove(client, "an earlier attempt of this task has left it, failed")
            return self._try_next(hook)
        here = next((each for each in chosen if each.path == existing.hardware), None)
        spec = self._spec(here or chosen[0])
        decision = plan(spec, existing, self.if_exists, own=own)
        if isinstance(decision, Recreate):
            self._budget.check(client, *map(self._starts, chosen))
            self._remove(client, "it is to be created anew")
            return self._try_next(hook)
        # It is there, and only what this task has created may be given up for another choice.
        after = self._search.left[self._search.left.index(here.path) + 1 :] if here is not None else ()
        self._search = Search(after, started, at=here.path) if own and here is not None else None
        endpoint, resumed = self._carry_out(client, spec, existing, decision)
        return self._arrive(hook, endpoint, started, resumed=resumed)

    def _try_next(self, hook: InferenceEndpointsHook) -> dict[str, Any] | None:
        """Create on the first of the choices left that can be had, and wait."""
        client = hook.get_conn()
        assert self._search is not None
        offered = client.list_inference_endpoints_hardware(namespace=self.namespace)
        left = self._search.left
        try:
            too_dear = self._budget.check(client, *(self._starts(each) for each in offered if each.path in left))
        except BudgetSpentError as error:
            raise BudgetSpentError("\n".join([str(error), *filter(None, [self._search.report()])])) from error

        def refusal(choice: Hardware) -> str | None:
            self._check_on()
            problem = too_dear.get(self._starts(choice).place)
            return shortage(choice, offered) if problem is None and self.preflight else problem

        self._search, endpoint = create_on_next(
            self._search,
            offered,
            name=self.name,
            refusal=refusal,
            attempt=lambda choice: self._create(client, self._spec(choice), checked=True),
        )
        return self._arrive(hook, endpoint, self._search.started)

    def _conclude(self, event: dict[str, Any] | None) -> dict[str, Any] | None:
        """As every operator's; an endpoint that failed to start makes room for the next choice."""
        try:
            return super()._conclude(event)
        except EndpointFailedError as error:
            if self._search is None:
                raise
            failure = error
        with InferenceEndpointsHook(self.hf_endpoints_conn_id) as hook:
            if not self._rescue.prepared:  # taken up after a deferral
                self._prepare(hook)
            client = hook.get_conn()
            existing = _find(client, self.name, self.namespace)
            failed_start = existing is not None and existing.status == InferenceEndpointStatus.FAILED
            if not failed_start or not (self._started_here or is_claimed(existing, self._claim)):
                raise failure  # paused or deleted by somebody: no question of hardware
            self._search = give_up_choice(self._search, str(failure))
            self._remove(client, "it failed to start")
            return self._try_next(hook)

    def _remove(self, client: EndpointsClient, why: str) -> None:
        """Delete, and wait until the name is free."""
        self.log.info("Deleting endpoint %s: %s.", self.name, why)
        if self._started_here:
            self._lose()
        client.delete_inference_endpoint(self.name, namespace=self.namespace, missing_ok=True)
        self._started_here = False

    def _carry_out(
        self, client: EndpointsClient, spec: EndpointSpec, existing: InferenceEndpoint | None, decision: Plan
    ) -> tuple[InferenceEndpoint, bool]:
        """Do it; the endpoint, and whether it was resumed."""
        match decision:
            case Refuse(reason=reason):
                raise InvalidArgumentError(reason)
            case Create():
                return self._create(client, spec), False
            case Recreate():
                self._check_hardware(client, spec, replaces=existing)
                self._budget.check(client, self._starts(spec))
                self._remove(client, "it is to be created anew")
                return self._create(client, spec, checked=True), False
            case Update(resume=resume):
                assert existing is not None
                change = EndpointUpdate.from_arguments(**_update_arguments(spec, existing))
                endpoint = client.update(spec.name, change, namespace=self.namespace)
                self.log.info("Updated endpoint %s; it is %s.", spec.name, endpoint.status)
            case Reuse(resume=resume):
                assert existing is not None
                endpoint = existing
                self.log.info("Reusing endpoint %s/%s; it is %s.", endpoint.namespace, endpoint.name, endpoint.status)
        if not resume:
            return endpoint, False
        self.log.info("Resuming endpoint %s.", spec.name)
        self._budget.check(client, Starts.again(endpoint))
        with self._starting(resumed=existing):
            return client.resume_inference_endpoint(spec.name, namespace=self.namespace), True

    def _create(self, client: EndpointsClient, spec: EndpointSpec, *, checked: bool = False) -> InferenceEndpoint:
        if not checked:
            self._check_hardware(client, spec)
        self._budget.check(client, self._starts(spec))
        with self._starting():
            endpoint = client.create(with_claim(spec, self._claim), namespace=self.namespace)
        self.log.info("Created endpoint %s/%s; it is %s.", endpoint.namespace, endpoint.name, endpoint.status)
        return endpoint

    def _check_hardware(
        self, client: EndpointsClient, spec: EndpointSpec, replaces: InferenceEndpoint | None = None
    ) -> None:
        if self.preflight:
            refuse_shortage(spec, self._offered(client), replaces)

    def _offered(self, client: EndpointsClient) -> list[Hardware]:
        try:
            return client.list_inference_endpoints_hardware(namespace=self.namespace)
        except ApiError as error:
            self.log.warning("The hardware can't be checked before the create: %s", error)
            return []

    def _secret_values(self) -> Sequence[str]:
        return mask_all(reveal_all(self._secrets, self._password))


def _find(client: EndpointsClient, name: str, namespace: str | None) -> InferenceEndpoint | None:
    try:
        return client.get_inference_endpoint(name, namespace=namespace)
    except EndpointNotFoundError:
        return None


def _update_arguments(spec: EndpointSpec, existing: InferenceEndpoint) -> dict[str, Any]:
    """The settings of a create that an update takes, secrets revealed again; claims on the endpoint stay on it."""
    arguments = {name: getattr(spec, name) for name in EndpointUpdate.model_fields}
    if spec.tags is not None:
        arguments["tags"] = [*spec.tags, *claims_in(existing.tags)]
    if spec.secrets is not None:
        arguments["secrets"] = {name: secret.get_secret_value() for name, secret in spec.secrets.items()}
    if spec.container_registry_password is not None:
        arguments["container_registry_password"] = spec.container_registry_password.get_secret_value()
    return {name: value for name, value in arguments.items() if value is not None}
