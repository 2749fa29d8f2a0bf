"""The operator that changes an endpoint's settings."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.providers.common.compat.sdk import Context

from airflow_provider_hf_endpoints.endpoints.models import PARKED
from airflow_provider_hf_endpoints.endpoints.names import check_name
from airflow_provider_hf_endpoints.endpoints.spec import EndpointUpdate
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import states_after_update
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.operators.changing.unskippable import UnskippableTeardown
from airflow_provider_hf_endpoints.operators.checking.arguments import checked, understand_all
from airflow_provider_hf_endpoints.operators.checking.settings import check_names, check_settings
from airflow_provider_hf_endpoints.operators.common.attempt import Action, Attempt, Done, Sent
from airflow_provider_hf_endpoints.operators.common.held import Holders
from airflow_provider_hf_endpoints.operators.common.naming import EndpointRef
from airflow_provider_hf_endpoints.operators.common.operator import EndpointOperator
from airflow_provider_hf_endpoints.operators.common.secrets import (
    Secret,
    SecretArguments,
    guarded,
    refuse_in_changes,
)

log = logging.getLogger(__name__)

_KINDS = {name: field.annotation for name, field in EndpointUpdate.model_fields.items()}


class UpdateInferenceEndpointOperator(UnskippableTeardown, EndpointOperator):
    """Change an endpoint's hardware, replicas, model or settings, and wait until it answers with them.

    An endpoint that is paused or at zero stays there, through `updating`: no request is sent that would start it. The
    change takes effect when it starts again.

    :param endpoint: the endpoint's name. (templated)
    :param changes: what to change, by the names and with the meaning of `endpoints.spec.EndpointUpdate`
        (`instance_type`, `instance_size`, `accelerator`, `min_replica`, `max_replica`, `scale_to_zero_timeout`,
        `repository`, `revision`, `custom_image`, `env`, …). Each is also a separate argument, except in `partial` and
        `expand`, which take `changes`. (templated)
    :param secrets: values, `FromConnection(…)` or `FromVariable(…)`; never rendered.
    :param container_registry_password: the same, for a private image.
    :param force: whether to change it although other runs hold a lease on it. Default False: the task fails, and a
        retry checks again.

    Other parameters, and the result: see `EndpointOperator`.
    """

    template_fields: Sequence[str] = (*EndpointOperator.template_fields, "changes")
    _announces = True
    further_arguments = _KINDS.keys()
    arguments_inside = dict.fromkeys(_KINDS, "changes")

    @checked
    def __init__(
        self,
        *,
        endpoint: str,
        changes: Mapping[str, Any] | None = None,
        secrets: Mapping[str, Secret] | None = None,
        container_registry_password: Secret | None = None,
        force: bool = False,
        **kwargs: Any,
    ) -> None:
        own = {name: kwargs.pop(name) for name in list(kwargs) if name in _KINDS}
        own = understand_all(own, _KINDS, own)
        super().__init__(**kwargs)
        if own and changes is not None:  # alone, `changes` may be another task's result, which is not known yet
            if doubled := sorted(set(own) & set(changes)):
                raise ValueError(
                    f"{', '.join(doubled)}: given both as an argument and in `changes`. Give each only once."
                )
            own = {**changes, **own}
        self.endpoint = endpoint
        self.force = force
        self.changes: Mapping[str, Any] = own if own or changes is None else changes
        if isinstance(self.changes, Mapping):
            refuse_in_changes(self.changes)
            check_names(self.changes)
            check_settings(self.changes)
        self._secrets = SecretArguments.of(secrets, container_registry_password, kwargs.get("default_args"))

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """As every operator's; secrets only as references."""
        return guarded(super().partial(**kwargs))

    def _begin(self, context: Context, began: float, stored: Mapping[str, Any] | None) -> Attempt:
        return Attempt(_Updating(self._ref, self.changes or {}, self._secrets, began, self._holders(context)))


class _Updating(Action):
    """Send the changes."""

    def __init__(
        self,
        endpoint: EndpointRef,
        changes: Mapping[str, Any],
        secret_arguments: SecretArguments,
        began: float,
        holders: Holders | None,
    ) -> None:
        self._endpoint, self._changes, self._secrets, self._began = endpoint, changes, secret_arguments, began
        self._holders = holders

    def check(self) -> None:
        """As of every operator; the changes are checked when their secrets are known."""
        check_name(self._endpoint.name, "endpoint")

    def act(self, hook: InferenceEndpointsHook) -> Sent | Done:
        """Update."""
        refuse_in_changes(self._changes)  # they may be another task's result
        change = EndpointUpdate.from_arguments(**{**self._changes, **self._secrets.reveal()})
        if change.min_replica:
            log.warning(
                "Endpoint %s has min_replica=%s: it never scales to zero, and bills until it is paused or deleted.",
                self._endpoint.name,
                change.min_replica,
            )
        if self._holders is not None:
            self._holders.refuse(hook, "updated")
        endpoint = hook.get_conn().update(self._endpoint.name, change, namespace=self._endpoint.namespace)
        log.info("Updated endpoint %s/%s (status: %s).", endpoint.namespace, endpoint.name, endpoint.status)
        if endpoint.status in PARKED:
            return Done(endpoint)
        return Sent(endpoint, self._began, tuple(sorted(states_after_update(endpoint))))

    def secrets(self) -> Sequence[str]:
        """Those that it was given."""
        return self._secrets.values()
