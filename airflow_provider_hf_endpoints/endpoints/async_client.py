"""The client of the control plane for asyncio. Public as `endpoints.client.AsyncEndpointsClient`.

Beside `client.py` it has the same methods over the same flows; only how it sends and sleeps is its own.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any, Literal, Self, TypeVar, Unpack

import httpx
import tenacity

from airflow_provider_hf_endpoints.endpoints.api import flows, readings
from airflow_provider_hf_endpoints.endpoints.api.arguments import CreateOptions, UpdateArguments
from airflow_provider_hf_endpoints.endpoints.api.flows import Answer, Flow, Pause
from airflow_provider_hf_endpoints.endpoints.api.requests import Request
from airflow_provider_hf_endpoints.endpoints.api.transport import Transport, tls
from airflow_provider_hf_endpoints.endpoints.costs import guarded, metering
from airflow_provider_hf_endpoints.endpoints.costs.cost import Cost
from airflow_provider_hf_endpoints.endpoints.errors import ApiError
from airflow_provider_hf_endpoints.endpoints.models import (
    Hardware,
    InferenceCatalogModel,
    InferenceEndpoint,
    LogEntry,
    Metrics,
    Quota,
    Replica,
    WhoAmI,
)
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec, EndpointUpdate
from airflow_provider_hf_endpoints.endpoints.upkeep.release import Release, release
from airflow_provider_hf_endpoints.endpoints.waiting import wait
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import Goal, Verdict
from airflow_provider_hf_endpoints.endpoints.waiting.wait import Check, End, OnLook

T = TypeVar("T")

# No limit on connections: a hundred health routes that hang would otherwise hold up the control plane as well.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)


class AsyncEndpointsClient(Transport):
    """The control plane for asyncio: the methods, arguments and errors of `EndpointsClient`, awaited."""

    _http: httpx.AsyncClient | None = None
    _loop: asyncio.AbstractEventLoop | None = None  # whose connections they are

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        http, self._http = self._http, None
        if http is not None and self._loop in (None, asyncio.get_running_loop()):
            await http.aclose()

    async def _send(self, request: Request) -> Answer:
        loop = asyncio.get_running_loop()
        if self._http is None or self._loop not in (None, loop):
            # Connections die with their event loop: a second asyncio.run gets new ones.
            self._http, self._loop = httpx.AsyncClient(verify=tls(), limits=_LIMITS), loop
        try:
            response = await self._http.request(**self.arguments(request))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.transport_error(request, error) from None
        return self.understand(request, response)

    async def _read(self, name: str, namespace: str | None, flow: Flow[T]) -> T:
        """Run a flow that reads an endpoint, with the nearest name in the error if there is no such endpoint."""
        return await self.run(flows.suggesting(self.session, name, namespace, flow))

    async def run(self, flow: Flow[T]) -> T:
        """Run a flow of `api/flows.py` or `waiting/wait.py` to its end."""
        answer: Any = None
        error: Exception | None = None
        while True:
            try:
                step = flow.throw(error) if error is not None else flow.send(answer)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            answer = error = None
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                continue
            try:
                answer = await tenacity.AsyncRetrying(**self.retry_settings(step))(self._send, step)
            except ApiError as raised:
                error = raised

    async def whoami(self) -> WhoAmI:
        """As `EndpointsClient.whoami`."""
        return await self.run(flows.whoami(self.session))

    async def default_namespace(self) -> str:
        """As `EndpointsClient.default_namespace`."""
        return await self.run(flows.resolve_namespace(self.session, None))

    async def list_inference_endpoints(self, namespace: str | None = None, **filters: Any) -> list[InferenceEndpoint]:
        """As `EndpointsClient.list_inference_endpoints`."""
        return await self.run(flows.list_endpoints(self.session, namespace, filters))

    async def get_inference_endpoint(self, name: str, *, namespace: str | None = None) -> InferenceEndpoint:
        """As `EndpointsClient.get_inference_endpoint`."""
        return await self._read(name, namespace, flows.get(self.session, name, namespace))

    async def create_inference_endpoint(
        self,
        name: str,
        *,
        repository: str,
        framework: str,
        accelerator: str,
        instance_size: str,
        instance_type: str,
        region: str,
        vendor: str,
        namespace: str | None = None,
        **options: Unpack[CreateOptions],
    ) -> InferenceEndpoint:
        """As `EndpointsClient.create_inference_endpoint`."""
        spec = EndpointSpec.from_arguments(
            name=name,
            repository=repository,
            framework=framework,
            accelerator=accelerator,
            instance_size=instance_size,
            instance_type=instance_type,
            region=region,
            vendor=vendor,
            **options,
        )
        return await self.create(spec, namespace=namespace)

    async def create(self, spec: EndpointSpec, *, namespace: str | None = None) -> InferenceEndpoint:
        """As `EndpointsClient.create`."""
        return await self.run(guarded.create(self.session, spec, namespace))

    async def update_inference_endpoint(
        self, name: str, *, namespace: str | None = None, **changes: Unpack[UpdateArguments]
    ) -> InferenceEndpoint:
        """As `EndpointsClient.update_inference_endpoint`."""
        return await self.update(name, EndpointUpdate.from_arguments(**changes), namespace=namespace)

    async def update(self, name: str, change: EndpointUpdate, *, namespace: str | None = None) -> InferenceEndpoint:
        """As `EndpointsClient.update`."""
        return await self.run(guarded.update(self.session, name, namespace, change))

    async def pause_inference_endpoint(self, name: str, *, namespace: str | None = None) -> InferenceEndpoint:
        """As `EndpointsClient.pause_inference_endpoint`."""
        return await self.run(flows.pause(self.session, name, namespace))

    async def resume_inference_endpoint(
        self, name: str, *, namespace: str | None = None, running_ok: bool = True
    ) -> InferenceEndpoint:
        """As `EndpointsClient.resume_inference_endpoint`."""
        return await self.run(guarded.resume(self.session, name, namespace, running_ok=running_ok))

    async def scale_to_zero_inference_endpoint(self, name: str, *, namespace: str | None = None) -> InferenceEndpoint:
        """As `EndpointsClient.scale_to_zero_inference_endpoint`."""
        return await self.run(flows.scale_to_zero(self.session, name, namespace))

    async def delete_inference_endpoint(
        self,
        name: str,
        *,
        namespace: str | None = None,
        missing_ok: bool = False,
        wait: bool = True,
        timeout: float = 300.0,
    ) -> bool:
        """As `EndpointsClient.delete_inference_endpoint`."""
        flow = flows.delete(self.session, name, namespace, missing_ok=missing_ok, wait=wait, timeout=timeout)
        return await self.run(flow)

    async def debug_inference_endpoint(self, name: str, *, namespace: str | None = None) -> InferenceEndpoint:
        """As `EndpointsClient.debug_inference_endpoint`."""
        return await self.run(flows.debug(self.session, name, namespace))

    async def list_inference_endpoint_replicas(self, name: str, *, namespace: str | None = None) -> list[Replica]:
        """As `EndpointsClient.list_inference_endpoint_replicas`."""
        return await self._read(name, namespace, readings.replicas(self.session, name, namespace))

    async def get_inference_endpoint_logs(
        self, name: str, *, namespace: str | None = None, tail: int = 100, **filters: Any
    ) -> list[LogEntry]:
        """As `EndpointsClient.get_inference_endpoint_logs`."""
        return await self._read(name, namespace, readings.logs(self.session, name, namespace, tail=tail, **filters))

    async def get_inference_endpoint_metric(
        self,
        name: str,
        which: Literal["replica-running", "pending-request"],
        *,
        start: datetime,
        stop: datetime | None = None,
        replica_id: str | None = None,
        namespace: str | None = None,
    ) -> Metrics:
        """As `EndpointsClient.get_inference_endpoint_metric`."""
        flow = readings.metric(self.session, name, namespace, which, start=start, stop=stop, replica_id=replica_id)
        return await self._read(name, namespace, flow)

    async def get_inference_endpoint_cost(
        self, name: str, *, start: datetime, stop: datetime | None = None, namespace: str | None = None
    ) -> Cost:
        """As `EndpointsClient.get_inference_endpoint_cost`."""
        return await self._read(name, namespace, metering.cost(self.session, name, namespace, start=start, stop=stop))

    async def list_inference_endpoints_hardware(
        self, *, namespace: str | None = None, with_quota: bool = True
    ) -> list[Hardware]:
        """As `EndpointsClient.list_inference_endpoints_hardware`."""
        return await self.run(readings.hardware(self.session, namespace, with_quota=with_quota))

    async def list_inference_endpoints_quotas(self, *, namespace: str | None = None) -> list[Quota]:
        """As `EndpointsClient.list_inference_endpoints_quotas`."""
        return await self.run(readings.quotas(self.session, namespace))

    async def list_inference_catalog(self, **filters: Any) -> list[InferenceCatalogModel]:
        """As `EndpointsClient.list_inference_catalog`."""
        return await self.run(readings.catalog(filters))

    async def create_inference_endpoint_from_catalog(
        self, repo_id: str | None = None, *, namespace: str | None = None, **choice: str | None
    ) -> InferenceEndpoint:
        """As `EndpointsClient.create_inference_endpoint_from_catalog`."""
        return await self.run(guarded.create_from_catalog(self.session, namespace, {"repo_id": repo_id, **choice}))

    async def poll(self, name: str, goal: Goal, *, namespace: str | None = None, check: Check | None = None) -> Verdict:
        """As `EndpointsClient.poll`."""
        return await self.run(wait.poll(self.session, name, namespace, goal, check))

    async def wait(
        self,
        name: str,
        goal: Goal,
        *,
        namespace: str | None = None,
        on_look: OnLook | None = None,
        check: Check | None = None,
    ) -> End:
        """As `EndpointsClient.wait`."""
        return await self.run(wait.wait(self.session, name, namespace, goal, on_look, check))

    async def settle(self, updated: InferenceEndpoint, *, on_look: OnLook | None = None) -> InferenceEndpoint:
        """As `EndpointsClient.settle`."""
        return await self.run(wait.settle(self.session, updated, on_look))

    async def release(self, name: str, policy: Release, *, namespace: str | None = None) -> str:
        """As `EndpointsClient.release`."""
        return await self.run(release(self.session, name, namespace, policy))

    async def describe_failure(self, endpoint: InferenceEndpoint, *, secrets: tuple[str, ...] = ()) -> str:
        """As `EndpointsClient.describe_failure`."""
        return await self.run(readings.describe_failure(self.session, endpoint, secrets=(*self._secrets(), *secrets)))
