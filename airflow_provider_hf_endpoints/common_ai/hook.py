"""`PydanticAIInferenceEndpointHook`: an endpoint as the model of `@task.llm`, `@task.agent` and common-ai's operators.

The connection names the endpoint, not its URL, because an endpoint that is created again has another URL. The token is
that of a connection of type `hf_endpoints`. The endpoint is looked at, and waited for, before the first request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

from airflow_provider_hf_endpoints._packages import missing_package
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError, InvalidArgumentError
from airflow_provider_hf_endpoints.endpoints.names import check_name
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.hooks.handle import EndpointHandle
from airflow_provider_hf_endpoints.inference.engines.dialects import Dialect
from airflow_provider_hf_endpoints.operators.requesting.target import EndpointTarget, target_of
from airflow_provider_hf_endpoints.operators.using.leases import renewing

try:
    from airflow.providers.common.ai.hooks.pydantic_ai import PydanticAIHook
    from pydantic_ai.exceptions import ModelAPIError
    from pydantic_ai.models.fallback import FallbackModel

    from airflow_provider_hf_endpoints.common_ai.model import WithinBudget, client_of
except ImportError as error:
    raise AirflowOptionalProviderFeatureException(
        missing_package("The connection type pydanticai_hf_endpoints", "common-ai")
    ) from error

DEFAULT_STARTUP_TIMEOUT = 900.0  # seconds
_PREFIX = "hf-endpoint:"


class PydanticAIInferenceEndpointHook(PydanticAIHook):  # type: ignore[misc]
    """An Inference Endpoint as a model of pydantic-ai.

    The connection's extra has `endpoint`, `namespace`, `hf_endpoints_conn_id` (default `hf_endpoints_default`),
    `startup_timeout` (seconds, default 900), and common-ai's own `model` and `fallback_conn_ids`. Without `endpoint` in
    the extra, `model_id` names the endpoint: `hf-endpoint:NAME`, `NAME`, or what an `inference_endpoint` group gives.
    With the last, the lease of the group is renewed while the task runs, and its budget is checked before each request.

    :param llm_conn_id: a connection of type `pydanticai_hf_endpoints`
    :param model_id: the model's name in requests, default what the endpoint says; or the endpoint, see above
    :param fallback_conn_ids: as common-ai's: other models, if the endpoint cannot be used
    """

    conn_name_attr = "llm_conn_id"
    default_conn_name = "pydanticai_hf_endpoints_default"
    conn_type = "pydanticai_hf_endpoints"
    hook_name = "Pydantic AI (Hugging Face Inference Endpoints)"
    model_provider = "openai-chat"  # `openai` would be OpenAI's Responses API, which engines lack

    def __init__(
        self,
        llm_conn_id: str | None = None,
        model_id: Any = None,
        fallback_conn_ids: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(llm_conn_id, model_id, fallback_conn_ids, **kwargs)
        self._served: str | None = None
        self._handle: EndpointHandle | None = None
        self._broken = False

    def get_conn(self) -> Any:
        """The model. If the endpoint cannot be used and there are fallbacks, the model is made of these."""
        try:
            return super().get_conn()
        except InferenceEndpointError as error:
            self._broken = True
            fallbacks = self._resolve_fallback_models() if self._get_fallback_conn_ids() else []
            if not fallbacks:
                raise
            self.log.warning("%s The fallbacks of connection %s are used instead.", error, self.llm_conn_id)
            first, *rest = fallbacks
            self._model = FallbackModel(first, *rest, fallback_on=(ModelAPIError,)) if rest else first
            return self._model

    def test_connection(self) -> tuple[bool, str]:
        """Look at the endpoint. Starts and wakes nothing."""
        try:
            name, given = self._named()
            endpoint = self._hub.get_inference_endpoint(name, namespace=self._namespace(given))
            return True, f"Endpoint {endpoint.namespace}/{endpoint.name} is {endpoint.status}."
        except (InferenceEndpointError, ValueError) as error:
            return False, str(error)

    @staticmethod
    def get_ui_field_behaviour() -> dict[str, Any]:
        """The connection's form in Airflow before 3.2."""
        example = '{"endpoint": "my-llm", "namespace": "my-org", "hf_endpoints_conn_id": "hf_endpoints_default"}'
        return {
            "hidden_fields": ["schema", "port", "login", "password", "host"],
            "relabeling": {},
            "placeholders": {"extra": example},
        }

    # What common-ai asks of a subclass

    def _get_configured_model_name(self) -> Any:
        if self._broken:  # asked by the fallbacks, of which each has its own model
            return None
        _, extra = self._get_conn_and_extra()
        named = self.model_id if extra.get("endpoint") else None
        if model := named or extra.get("model"):
            return model
        self._endpoint()
        return self._served

    def _qualify_model_name(self, model_name: str, **_: Any) -> str:
        return f"{self.model_provider}:{model_name.removeprefix(f'{self.model_provider}:')}"

    def _resolve_own_model(self, **forwarded: Any) -> Any:
        model = super()._resolve_own_model(**forwarded)
        budget = self._named()[1].get("budget")
        return model if budget is None else WithinBudget(model, lambda: self._target(budget))

    def _get_provider_kwargs(self, api_key: str | None, base_url: str | None, extra: dict[str, Any]) -> dict[str, Any]:
        endpoint, target = self._endpoint(), self._target()
        if lease := self._named()[1].get("lease"):
            # The thread that renews is a daemon: it ends with the task's process.
            held = SimpleNamespace(namespace=endpoint.namespace, endpoint=endpoint.name, lease=lease)
            self._renewing = renewing(self._hub, held)
            self._renewing.__enter__()
        return {
            "base_url": f"{target.url.rstrip('/')}/v1",
            "api_key": target.token.get_secret_value(),
            "http_client": client_of(target.url, self._patience()),
        }

    # The endpoint

    def _endpoint(self) -> EndpointHandle:
        """The endpoint, which answers, and serves chats. Waits for it once.

        :raises InferenceEndpointError: it cannot be used
        """
        if self._handle is not None:
            return self._handle
        name, given = self._named()
        endpoint = self._hub.get_inference_endpoint(name, namespace=self._namespace(given))
        endpoint.wait(timeout=self._patience())
        target = endpoint.client.discover()
        if target.dialect is not Dialect.OPENAI:
            raise InferenceEndpointError(
                f"Endpoint {endpoint.namespace}/{name} does not serve chats: its engine is "
                f"{target.engine or 'unknown'} ({target.why}). Agents and LLM tasks need an engine with "
                "/v1/chat/completions. Create the endpoint with custom_image, e.g. "
                "{'vLLM': {'url': 'vllm/vllm-openai:v0.23.0'}}."
            )
        self._handle, self._served = endpoint, target.model or endpoint.snapshot.repository
        self.log.info("Endpoint %s/%s serves %s", endpoint.namespace, name, self._served)
        return endpoint

    def _named(self) -> tuple[str, Mapping[str, Any]]:
        """The endpoint's name, and what a group gave of it."""
        _, extra = self._get_conn_and_extra()
        if name := extra.get("endpoint"):
            return check_name(name, "endpoint"), {}
        if isinstance(self.model_id, Mapping):
            return check_name(str(self.model_id.get("name")), "endpoint"), self.model_id
        if self.model_id:
            return check_name(str(self.model_id).removeprefix(_PREFIX), "model_id"), {}
        raise InvalidArgumentError(
            f"Connection {self.llm_conn_id!r} names no endpoint. Set endpoint in its extra, or give the endpoint as "
            "model_id."
        )

    @cached_property
    def _hub(self) -> InferenceEndpointsHook:
        _, extra = self._get_conn_and_extra()
        return InferenceEndpointsHook(extra.get("hf_endpoints_conn_id") or InferenceEndpointsHook.default_conn_name)

    def _target(self, budget: Mapping[str, Any] | None = None) -> EndpointTarget:
        """Where requests go, and what the use has cost by now."""
        return target_of(self._hub, self._endpoint().snapshot, budget)

    def _namespace(self, given: Mapping[str, Any]) -> str | None:
        _, extra = self._get_conn_and_extra()
        return given.get("namespace") or extra.get("namespace") or None

    def _patience(self) -> float:
        """Seconds to wait for the endpoint."""
        _, extra = self._get_conn_and_extra()
        given = extra.get("startup_timeout")
        try:
            seconds = DEFAULT_STARTUP_TIMEOUT if given in (None, "") else float(given)
        except (TypeError, ValueError):
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise InvalidArgumentError(
                f"Connection {self.llm_conn_id!r} has startup_timeout={given!r} in its extra, which is not valid. Give "
                "a positive number of seconds."
            )
        return seconds
