"""The clients of the control plane: `EndpointsClient`, and `AsyncEndpointsClient` of `async_client.py`.

They have the same methods, named as in huggingface_hub; what those do is in `api/flows.py` and `waiting/wait.py`, and
how a request is sent in `transport.py`. Every call sends an explicit token, and no wait is endless.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, Literal, Self, TypeVar, Unpack

import httpx
import tenacity

from airflow_provider_hf_endpoints.endpoints.api import flows, readings
from airflow_provider_hf_endpoints.endpoints.api.arguments import CreateOptions, UpdateArguments
from airflow_provider_hf_endpoints.endpoints.api.flows import Answer, Flow, Pause
from airflow_provider_hf_endpoints.endpoints.api.requests import Request
from airflow_provider_hf_endpoints.endpoints.api.transport import Transport, tls
from airflow_provider_hf_endpoints.endpoints.async_client import AsyncEndpointsClient
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

__all__ = ["AsyncEndpointsClient", "EndpointsClient"]

T = TypeVar("T")


class EndpointsClient(Transport):
    """The control plane, synchronous. A context manager; without it, call `close`.

    :param token: a Hugging Face access token; sent with every call, shown nowhere.
    :param base_url: the control plane; default Hugging Face's. With another one, `hub_url` and `catalog_url` default to
        that same host, as the emulator serves all three.
    :param namespace: the user or organisation for calls without a namespace; default the token's user.
    :param timeout: seconds for one request.
    :param retry_budget: seconds in which one request may be tried again, where that is safe.
    :param ceiling: what may be created, updated and resumed; default anything.
    :param token_source: where the token comes from, in words, for errors.

    Every method raises the typed errors of `endpoints.errors`.
    """

    _http: httpx.Client | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def _send(self, request: Request) -> Answer:
        if self._http is None:
            self._http = httpx.Client(verify=tls())
        try:
            response = self._http.request(**self.arguments(request))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self.transport_error(request, error) from None
        return self.understand(request, response)

    def _read(self, name: str, namespace: str | None, flow: Flow[T]) -> T:
        """Run a flow that reads an endpoint, with the nearest name in the error if there is no such endpoint."""
        return self.run(flows.suggesting(self.session, name, namespace, flow))

    def run(self, flow: Flow[T]) -> T:
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
                time.sleep(step.seconds)
                continue
            try:
                answer = tenacity.Retrying(**self.retry_settings(step))(self._send, step)
            except ApiError as raised:
                error = raised

    def whoami(self) -> WhoAmI:
        """Whose token it is; asked once per client."""
        return self.run(flows.whoami(self.session))

    def default_namespace(self) -> str:
        """The namespace that calls without one use."""
        return self.run(flows.resolve_namespace(self.session, None))

    def list_inference_endpoints(self, namespace: str | None = None, **filters: Any) -> list[InferenceEndpoint]:
        """All pages. `namespace="*"`: the user and every organisation that can be listed.

        Filters: `state`, `tags`, `type`, `task` (a string or a list), `search` (part of the name), `sort_by`
        (createdAt, updatedAt, name), `direction` (asc, desc), `limit` (items a page).
        """
        return self.run(flows.list_endpoints(self.session, namespace, filters))

    def get_inference_endpoint(self, name: str, *, namespace: str | None = None) -> InferenceEndpoint:
        """One endpoint."""
        return self._read(name, namespace, flows.get(self.session, name, namespace))

    def create_inference_endpoint(
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
        """Create an endpoint, once: a create whose fate is unknown is looked up before it is sent again.

        Arguments: see `EndpointSpec`. What the service dropped or changed is in the result's `unapplied`, and logged.
        """
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
        return self.create(spec, namespace=namespace)

    def create(self, spec: EndpointSpec, *, namespace: str | None = None) -> InferenceEndpoint:
        """Create the endpoint that `spec` describes."""
        return self.run(guarded.create(self.session, spec, namespace))

    def update_inference_endpoint(
        self, name: str, *, namespace: str | None = None, **changes: Unpack[UpdateArguments]
    ) -> InferenceEndpoint:
        """Change what is given and nothing else. Arguments: see `EndpointUpdate`."""
        return self.update(name, EndpointUpdate.from_arguments(**changes), namespace=namespace)

    def update(self, name: str, change: EndpointUpdate, *, namespace: str | None = None) -> InferenceEndpoint:
        """Change what is in `change`."""
        return self.run(guarded.update(self.session, name, namespace, change))

    def pause_inference_endpoint(self, name: str, *, namespace: str | None = None) -> InferenceEndpoint:
        """Pause: nothing is billed, and only a resume starts it again."""
        return self.run(flows.pause(self.session, name, namespace))

    def resume_inference_endpoint(
        self, name: str, *, namespace: str | None = None, running_ok: bool = True
    ) -> InferenceEndpoint:
        """Resume; an endpoint that runs already is an error only where `running_ok` is False."""
        return self.run(guarded.resume(self.session, name, namespace, running_ok=running_ok))

    def scale_to_zero_inference_endpoint(self, name: str, *, namespace: str | None = None) -> InferenceEndpoint:
        """Scale to zero: nothing is billed, and any authorised request starts it again."""
        return self.run(flows.scale_to_zero(self.session, name, namespace))

    def delete_inference_endpoint(
        self,
        name: str,
        *,
        namespace: str | None = None,
        missing_ok: bool = False,
        wait: bool = True,
        timeout: float = 300.0,
    ) -> bool:
        """Delete, and with `wait` return only when it is really gone. False if it did not exist, with `missing_ok`."""
        flow = flows.delete(self.session, name, namespace, missing_ok=missing_ok, wait=wait, timeout=timeout)
        return self.run(flow)

    def debug_inference_endpoint(self, name: str, *, namespace: str | None = None) -> InferenceEndpoint:
        """Run the service's debugger agent; what it finds comes in `agent_message`."""
        return self.run(flows.debug(self.session, name, namespace))

    def list_inference_endpoint_replicas(self, name: str, *, namespace: str | None = None) -> list[Replica]:
        """The replicas and their stages."""
        return self._read(name, namespace, readings.replicas(self.session, name, namespace))

    def get_inference_endpoint_logs(
        self, name: str, *, namespace: str | None = None, tail: int = 100, **filters: Any
    ) -> list[LogEntry]:
        """The last `tail` lines (at most 5,000), oldest first; kept for 30 days, also while paused.

        Filters: `replica`, and where the deployment has log search `level`, `search`, `since`, `until`.
        """
        return self._read(name, namespace, readings.logs(self.session, name, namespace, tail=tail, **filters))

    def get_inference_endpoint_metric(
        self,
        name: str,
        which: Literal["replica-running", "pending-request"],
        *,
        start: datetime,
        stop: datetime | None = None,
        replica_id: str | None = None,
        namespace: str | None = None,
    ) -> Metrics:
        """Running replicas or pending requests between two aware datetimes (default: until now)."""
        flow = readings.metric(self.session, name, namespace, which, start=start, stop=stop, replica_id=replica_id)
        return self._read(name, namespace, flow)

    def get_inference_endpoint_cost(
        self, name: str, *, start: datetime, stop: datetime | None = None, namespace: str | None = None
    ) -> Cost:
        """What the endpoint cost between two aware datetimes (default: until now), in replica-seconds and USD.

        Taken from its replicas' start and end, else from the metric of running replicas, else from its state while it
        runs; `source` says from which.

        :raises CostUnknownError: replicas and metric are not available, and the endpoint has stopped
        """
        return self._read(name, namespace, metering.cost(self.session, name, namespace, start=start, stop=stop))

    def list_inference_endpoints_hardware(
        self, *, namespace: str | None = None, with_quota: bool = True
    ) -> list[Hardware]:
        """Every instance with its price per replica and hour, and the namespace's quota."""
        return self.run(readings.hardware(self.session, namespace, with_quota=with_quota))

    def list_inference_endpoints_quotas(self, *, namespace: str | None = None) -> list[Quota]:
        """Accelerators that the namespace may use and uses."""
        return self.run(readings.quotas(self.session, namespace))

    def list_inference_catalog(self, **filters: Any) -> list[InferenceCatalogModel]:
        """Models with tested recipes. Filters: `accelerator`, `engine`, `license`, `task`, `search`, `limit`."""
        return self.run(readings.catalog(filters))

    def create_inference_endpoint_from_catalog(
        self, repo_id: str | None = None, *, namespace: str | None = None, **choice: str | None
    ) -> InferenceEndpoint:
        """Create from a catalog model, or from one recipe (`recipe_id`); also `name`, `accelerator`, `gguf_file`."""
        return self.run(guarded.create_from_catalog(self.session, namespace, {"repo_id": repo_id, **choice}))

    def poll(self, name: str, goal: Goal, *, namespace: str | None = None, check: Check | None = None) -> Verdict:
        """One look at the endpoint and what it means for `goal`."""
        return self.run(wait.poll(self.session, name, namespace, goal, check))

    def wait(
        self,
        name: str,
        goal: Goal,
        *,
        namespace: str | None = None,
        on_look: OnLook | None = None,
        check: Check | None = None,
    ) -> End:
        """Wait for `goal`.

        :param on_look: called after every look with the reason to wait longer
        :param check: called before every request; may raise to end the wait
        """
        return self.run(wait.wait(self.session, name, namespace, goal, on_look, check))

    def settle(self, updated: InferenceEndpoint, *, on_look: OnLook | None = None) -> InferenceEndpoint:
        """Wait until an update of an endpoint that was parked has come to rest: a resume before that starts nothing."""
        return self.run(wait.settle(self.session, updated, on_look))

    def release(self, name: str, policy: Release, *, namespace: str | None = None) -> str:
        """Pause, scale to zero or delete, as `policy` says; what was done, in words."""
        return self.run(release(self.session, name, namespace, policy))

    def describe_failure(self, endpoint: InferenceEndpoint, *, secrets: tuple[str, ...] = ()) -> str:
        """The last lines of a broken endpoint's log, with `secrets` and every token redacted."""
        return self.run(readings.describe_failure(self.session, endpoint, secrets=(*self._secrets(), *secrets)))
