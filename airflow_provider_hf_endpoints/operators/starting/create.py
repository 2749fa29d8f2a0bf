"""The arguments of the operator that creates an endpoint, or reuses, updates or replaces an existing one.

The actions are in `creating.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, get_args

from airflow.providers.common.compat.sdk import Context

from airflow_provider_hf_endpoints.endpoints.models import Hardware
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec
from airflow_provider_hf_endpoints.endpoints.upkeep.hardware import HardwareOrder
from airflow_provider_hf_endpoints.endpoints.upkeep.release import Release
from airflow_provider_hf_endpoints.operators.checking.arguments import also_takes, checked, understand_all
from airflow_provider_hf_endpoints.operators.checking.settings import check_settings
from airflow_provider_hf_endpoints.operators.common.attempt import Attempt
from airflow_provider_hf_endpoints.operators.common.operator import EndpointOperator
from airflow_provider_hf_endpoints.operators.common.retries import partial_retried, retried
from airflow_provider_hf_endpoints.operators.common.secrets import (
    Secret,
    SecretArguments,
    guarded,
    refuse_templated,
)
from airflow_provider_hf_endpoints.operators.starting.creating import Creating, Wanted
from airflow_provider_hf_endpoints.operators.starting.hardware import PLACE, check_place
from airflow_provider_hf_endpoints.operators.starting.plan import IfExists
from airflow_provider_hf_endpoints.operators.starting.start import Start, StartTerms
from airflow_provider_hf_endpoints.operators.using.acquired import namespace_of

# Arguments that are attributes of the operator and templated. Secrets are neither.
_TEMPLATED = tuple(name for name in EndpointSpec.model_fields if name not in ("secrets", "container_registry_password"))
# Those with their own parameter.
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
_KINDS = {name: field.annotation for name, field in EndpointSpec.model_fields.items()}
_OPTIONS = tuple(name for name in _TEMPLATED if name not in _NAMED)


class CreateInferenceEndpointOperator(EndpointOperator):
    """Create an endpoint, or reuse the existing one with this name, and wait until it answers.

    The defaults limit the bill: `min_replica` is 0, and the endpoint scales to zero after 15 idle minutes.

    :param name: lower-case letters, digits and '-', at most 32 characters. (templated)
    :param repository: the model's repository on the hub. (templated)
    :param framework: `pytorch`, `custom` or `llamacpp`. (templated)
    :param vendor: the cloud, e.g. `aws`. The five arguments of the hardware are checked against what the service offers
        before anything is created. (templated)
    :param region: e.g. `us-east-1`. (templated)
    :param accelerator: `cpu`, `gpu` or `neuron`. (templated)
    :param instance_type: e.g. `nvidia-l4`. (templated)
    :param instance_size: e.g. `x1`. (templated)
    :param hardware: instead of these five arguments, a list of choices `vendor/region/instance_type/instance_size`,
        e.g. `["aws/us-east-1/nvidia-l4/x1", "gcp/us-east4/nvidia-l4/x1"]`. If a choice has no capacity or no quota, the
        next one is tried. If the endpoint fails to start, it is deleted and the next choice is tried. `timeout` applies
        to all choices together. (templated)
    :param hardware_order: `given` (default), or `price`: the cheapest first.
    :param namespace: the user or organisation; default the connection's, else the token's user. (templated)
    :param task: what the model is for, e.g. `text-generation`. (templated)
    :param min_replica: the autoscaler's lower bound; default 0. Above 0 the endpoint bills until it is paused or
        deleted. (templated)
    :param max_replica: the autoscaler's upper bound; default 1. (templated)
    :param scale_to_zero_timeout: idle minutes before the service scales the endpoint to zero, 15 to 2880; default 15.
        (templated)
    :param secrets: values, `FromConnection(…)` or `FromVariable(…)`. Looked up when the task runs, masked, never
        rendered.
    :param container_registry_password: the same, for a private image.
    :param if_exists: what to do if an endpoint with this name exists: `reuse` it (default; a paused one is resumed;
        other model or hardware is an error), `update` it to the settings given here, `fail`, or `recreate` it. An
        endpoint that an earlier attempt of the same task created (it carries a tag `airflow-task-…`) is reused by a
        retry whatever is chosen here; only `recreate` replaces it, if it failed.
    :param force: whether `update` and `recreate` act although other runs hold a lease on the endpoint. Default False:
        the task fails, and a retry checks again.
    :param preflight: whether to check hardware, capacity and quota first; default True.

    :param on_timeout: what happens to the endpoint when it is not ready in time: `pause` (default), `scale_to_zero`,
        `delete` or `none`. This and the next two concern only an endpoint that this task created, resumed or woke: an
        endpoint that ran before is not touched. For an endpoint that was scaled to zero, `pause` means back to zero.
    :param on_failure: when it failed to start, or the wait for it ended with an error.
    :param on_kill: when the task is killed while it waits, on a worker or deferred. A cleared task keeps the endpoint:
        its next attempt uses it.
    :param max_cost: USD that the start may cost, over all tries of the task and all choices of hardware; a cleared task
        gets a new budget. If the budget does not cover one billed minute, the endpoint is not started. When it is used
        up before the endpoint is ready, `on_timeout` applies and the task fails without a retry. Default no limit.
    :param max_runtime: the same in seconds (or a timedelta) of wall-clock time from the first try on. Default no limit.
    :param keep: whether the endpoint stays after the run; the sweeper then ignores it. None (default): the endpoint is
        for this run if a later task stops it (a teardown of this task, a pause, scale to zero or delete); otherwise it
        is kept.
    :param acquired: set by `inference_endpoint(…)`: the result of its task `acquire`. (templated)

    Every other setting of `endpoints.spec.EndpointSpec` is an argument too: `revision`, `custom_image`, `env`, `type`,
    `tags`, `container_args`, `tensor_parallel_size`, `scaling_metric`, … (templated)

    Without `retries`, the task has five retries within about eight minutes, for faults of Airflow and of the service. A
    retry uses the endpoint that an earlier attempt started, and does not extend the deadline (Airflow 3.3). An endpoint
    that failed, or was not ready in time, fails the task at once.

    Other parameters, and the result: see `EndpointOperator`.
    """

    template_fields: Sequence[str] = (*_TEMPLATED, "hardware", "namespace", "hf_endpoints_conn_id", "acquired")
    task_of_work: str | None = None  # of a new endpoint if `task` is not given; a group sets it
    _announces = True
    _one_deadline = True

    @also_takes(_OPTIONS)
    @checked
    @retried
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
        namespace: str | None = None,
        task: str | None = None,
        min_replica: int = 0,
        max_replica: int | None = None,
        scale_to_zero_timeout: int | None = None,
        secrets: Mapping[str, Secret] | None = None,
        container_registry_password: Secret | None = None,
        if_exists: IfExists = "reuse",
        force: bool = False,
        preflight: bool = True,
        on_timeout: Release = "pause",
        on_failure: Release = "pause",
        on_kill: Release = "pause",
        max_cost: float | None = None,
        max_runtime: float | timedelta | None = None,
        keep: bool | None = None,
        acquired: Any = None,
        **kwargs: Any,
    ) -> None:
        options = {field: kwargs.pop(field) for field in _OPTIONS if field in kwargs}
        options = understand_all(options, _KINDS, _TEMPLATED)
        super().__init__(namespace=namespace, **kwargs)
        refuse_templated(options)
        if if_exists not in get_args(IfExists):
            raise ValueError(f"if_exists={if_exists!r} is not valid. Use one of {', '.join(get_args(IfExists))}.")
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
        self.task = task
        self.min_replica = min_replica
        self.max_replica = max_replica
        self.scale_to_zero_timeout = scale_to_zero_timeout
        self.if_exists = if_exists
        self.force = force
        self.preflight = preflight
        self.max_cost = max_cost
        self.max_runtime = max_runtime
        self.keep = keep
        self.acquired = acquired
        policies = {"on_timeout": on_timeout, "on_failure": on_failure, "on_kill": on_kill}
        self._terms = StartTerms.of(policies, max_cost, max_runtime, acquired, keep)
        self._secrets = SecretArguments.of(secrets, container_registry_password, kwargs.get("default_args"))
        for field in _OPTIONS:
            setattr(self, field, options.get(field))
        check_settings({field: getattr(self, field) for field in _TEMPLATED})

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """As every operator's; secrets only as references."""
        made = guarded(partial_retried(super().partial(**kwargs), kwargs))
        understand_all(kwargs, {name: _KINDS[name] for name in _OPTIONS}, _TEMPLATED)
        check_settings({name: value for name, value in kwargs.items() if name in _TEMPLATED})
        return made

    @property
    def endpoint(self) -> str:  # type: ignore[override]
        """The endpoint's name, by the attribute of the other operators."""
        return self.name

    def _begin(self, context: Context, began: float, stored: Mapping[str, Any] | None) -> Attempt:
        self.namespace = namespace_of(self.acquired) or self.namespace
        start = Start(self._terms, self._ref, context, self.acquired, stored, self)
        wanted = Wanted(
            name=self.name,
            namespace=self.namespace,
            hf_endpoints_conn_id=self.hf_endpoints_conn_id,
            spec=self._spec,
            task_of_work=self.task_of_work,
            min_replica=self.min_replica,
            hardware=self.hardware,
            hardware_order=self.hardware_order,
            if_exists=self.if_exists,
            preflight=self.preflight,
            secrets=self._secrets,
            holders=None if self.force else start.holders,
            waits=self.wait_for_completion,
        )
        return Attempt(Creating(wanted, start, began), start)

    def _spec(self, place: Hardware | None = None) -> EndpointSpec:
        """The wanted endpoint, on `place` if there are choices."""
        given = {field: getattr(self, field) for field in _TEMPLATED if getattr(self, field) is not None}
        if place is not None:
            given |= {field: getattr(place, field) for field in PLACE}
        return EndpointSpec.from_arguments(**given, **self._secrets.reveal())
