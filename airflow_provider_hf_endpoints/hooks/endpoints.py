"""`InferenceEndpointsHook`: the control plane behind an Airflow connection, under huggingface_hub's method names.

The hook finds the connection and hands out clients and endpoint objects. What a connection means is `connection.py`,
what an endpoint object does `handle.py`, what a test of the connection says `diagnosis.py`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, Self, Unpack
from weakref import WeakSet

from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook
from asgiref.sync import sync_to_async
from pydantic import SecretStr

from airflow_provider_hf_endpoints._airflow import mask_secret
from airflow_provider_hf_endpoints.endpoints.api.arguments import CreateOptions, UpdateArguments
from airflow_provider_hf_endpoints.endpoints.api.transport import CONTROL_URL, HUB_URL, Bases
from airflow_provider_hf_endpoints.endpoints.client import AsyncEndpointsClient, EndpointsClient
from airflow_provider_hf_endpoints.endpoints.costs.cost import Cost
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
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
from airflow_provider_hf_endpoints.hooks import diagnosis, form
from airflow_provider_hf_endpoints.hooks.connection import (
    DEFAULT_CONN_ID,
    ConnectionFields,
    ConnectionSettings,
    how_to_connect,
    resolve_settings,
)
from airflow_provider_hf_endpoints.hooks.cost_records import CostRecords, CostSum
from airflow_provider_hf_endpoints.hooks.handle import EndpointHandle
from airflow_provider_hf_endpoints.hooks.misplaced import unreadable
from airflow_provider_hf_endpoints.kept import KeptAt, StoreError, service_name

log = logging.getLogger(__name__)

# Hashes of the tokens that this process has masked: each masking is a message to the process that keeps the log.
_masked: set[int] = set()


class InferenceEndpointsHook(BaseHook):
    """Hugging Face Inference Endpoints. A context manager; without it, call `close`.

    Every method raises the typed errors of `endpoints.errors`. By default a created endpoint does not bill while idle:
    `min_replica` is 0 and `scale_to_zero_timeout` is 15 minutes.

    :param hf_endpoints_conn_id: the connection. If the default connection does not exist, `HF_TOKEN` or the token of
        `hf auth login` is used.
    :param namespace: the user or organisation for calls without a namespace; default the connection's, else the token's
        user.
    """

    conn_name_attr = "hf_endpoints_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = "hf_endpoints"
    hook_name = "Hugging Face Inference Endpoints"

    def __init__(
        self, hf_endpoints_conn_id: str = default_conn_name, *, namespace: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.hf_endpoints_conn_id = hf_endpoints_conn_id
        self.namespace = namespace
        self._settings: ConnectionSettings | None = None
        self._client: EndpointsClient | None = None
        self._handles: WeakSet[EndpointHandle] = WeakSet()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of the client and of its endpoint objects. All of them can be used again."""
        for handle in self._handles:
            handle.close()
        if self._client is not None:
            self._client.close()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """The connection's form in Airflow 3.0 and 3.1; later versions read the provider's metadata."""
        return form.ui_field_behaviour()

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """The connection's own fields in Airflow 3.0 and 3.1; later versions read the provider's metadata."""
        return form.connection_form_widgets()

    def get_conn(self) -> EndpointsClient:
        """The client, one for each hook."""
        if self._client is None:
            self._client = self.fresh_client()
        return self._client

    def fresh_client(self) -> EndpointsClient:
        """A separate client, which the caller closes. For callers that cannot share one, such as a signal handler."""
        return EndpointsClient(**self._arguments(self._get_settings()))

    @property
    def kept_at(self) -> KeptAt:
        """Where the records of this connection's service are kept: leases, who started an endpoint, and costs."""
        url = self.service_url
        return KeptAt(self._get_settings().lease_path, "" if url == CONTROL_URL else service_name(url))

    @property
    def token(self) -> SecretStr:
        """The connection's token, for who sends requests to an endpoint itself."""
        return self._get_settings().token

    @property
    def token_source(self) -> str:
        """Where the token comes from, in words: the connection with its id, a variable or a file."""
        return self._get_settings().source

    @property
    def hub_url(self) -> str | None:
        """The connection's Hub, as the client finds it; None for the default Hub (`HF_ENDPOINT`, or the public Hub)."""
        hub = self._bases.hub
        return None if hub == HUB_URL else hub

    @property
    def service_url(self) -> str:
        """The control plane of the connection. Endpoints of two of them may have the same name and namespace."""
        return self._bases.control

    @property
    def _bases(self) -> Bases:
        settings = self._get_settings()
        return Bases.of(settings.base_url, settings.hub_url, settings.catalog_url)

    async def get_async_conn(self) -> AsyncEndpointsClient:
        """A new client for asyncio, which the caller closes. The connection is read without blocking the loop."""
        if self._settings is None:
            self._settings = await self._aget_settings()
        return AsyncEndpointsClient(**self._arguments(self._settings))

    def _arguments(self, settings: ConnectionSettings) -> dict[str, Any]:
        arguments = settings.client_arguments()
        return {**arguments, "namespace": self.namespace} if self.namespace else arguments

    def _get_settings(self) -> ConnectionSettings:
        if self._settings is None:
            fields: ConnectionFields | None
            try:
                fields = ConnectionFields.of(self.get_connection(self.hf_endpoints_conn_id))
            except AirflowNotFoundException:
                self._may_be_absent()
                fields = None
            settings = resolve_settings(self.hf_endpoints_conn_id, fields, environ=os.environ)
            _mask(settings.token.get_secret_value())
            self._settings = settings
        return self._settings

    async def _aget_settings(self) -> ConnectionSettings:
        fields: ConnectionFields | None
        try:
            fields = ConnectionFields.of(await get_async_connection(self.hf_endpoints_conn_id))
        except AirflowNotFoundException:
            self._may_be_absent()
            fields = None
        # In a thread: without a connection this may read a file.
        settings = await asyncio.to_thread(resolve_settings, self.hf_endpoints_conn_id, fields, environ=os.environ)
        token = settings.token.get_secret_value()
        if hash(token) not in _masked:
            # Masking talks to the supervisor and blocks; asgiref's thread may call back into this loop.
            await sync_to_async(_mask)(token)
        return settings

    def _may_be_absent(self) -> None:
        """Only the default connection may: for any other, Airflow's own error in clearer words."""
        if self.hf_endpoints_conn_id != DEFAULT_CONN_ID:
            conn_id = self.hf_endpoints_conn_id
            raise AirflowNotFoundException(unreadable(conn_id, os.environ) or how_to_connect(conn_id)) from None

    def _handle(
        self,
        snapshot: InferenceEndpoint,
        *,
        secrets: Sequence[str] = (),
        resumed_at: datetime | None = None,
    ) -> EndpointHandle:
        handle = EndpointHandle(
            self.get_conn(),
            snapshot,
            token=self.token,
            token_source=self.token_source,
            secrets=secrets,
            conceal=_mask,
            resumed_at=resumed_at,
        )
        self._handles.add(handle)
        return handle

    def test_connection(self) -> tuple[bool, str]:
        """Whether the connection works: whose token it is, what it sees and what it lacks."""
        try:
            settings = self._get_settings()
        except (InferenceEndpointError, AirflowNotFoundException) as error:
            return False, str(error)
        return diagnosis.diagnose(settings, self.namespace)

    def whoami(self) -> WhoAmI:
        """Whose token it is; asked once per hook."""
        return self.get_conn().whoami()

    def list_inference_endpoints(self, namespace: str | None = None, **filters: Any) -> list[EndpointHandle]:
        """All endpoints of a namespace, or with `namespace="*"` of the user and every organisation.

        Filters: see `EndpointsClient.list_inference_endpoints`.
        """
        return [self._handle(each) for each in self.get_conn().list_inference_endpoints(namespace, **filters)]

    def get_inference_endpoint(self, name: str, *, namespace: str | None = None) -> EndpointHandle:
        """One endpoint."""
        return self._handle(self.get_conn().get_inference_endpoint(name, namespace=namespace))

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
    ) -> EndpointHandle:
        """Create an endpoint, once. Arguments: see `endpoints.spec.EndpointSpec`."""
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

    def create(self, spec: EndpointSpec, *, namespace: str | None = None) -> EndpointHandle:
        """Create the endpoint that `spec` describes. Its secrets are masked in Airflow's logs."""
        secrets = _masked_secrets(spec)
        if spec.never_scales_down:
            log.warning(
                "Endpoint %s has min_replica=%s: it bills until it is paused or deleted.",
                spec.name,
                spec.min_replica,
            )
        created = self.get_conn().create(spec, namespace=namespace)
        return self._handle(created, secrets=secrets, resumed_at=datetime.now(UTC))

    def create_inference_endpoint_from_catalog(
        self, repo_id: str | None = None, *, namespace: str | None = None, **choice: str | None
    ) -> EndpointHandle:
        """Create from a catalog model, or one recipe (`recipe_id`); also `name`, `accelerator`, `gguf_file`."""
        client = self.get_conn()
        created = client.create_inference_endpoint_from_catalog(repo_id, namespace=namespace, **choice)
        return self._handle(created, resumed_at=datetime.now(UTC))

    def update_inference_endpoint(
        self, name: str, *, namespace: str | None = None, **changes: Unpack[UpdateArguments]
    ) -> EndpointHandle:
        """Change what is given and nothing else. Arguments: see `endpoints.spec.EndpointUpdate`."""
        return self.update(name, EndpointUpdate.from_arguments(**changes), namespace=namespace)

    def update(self, name: str, change: EndpointUpdate, *, namespace: str | None = None) -> EndpointHandle:
        """Change what is in `change`. Its secrets are masked in Airflow's logs."""
        secrets = _masked_secrets(change)
        return self._handle(self.get_conn().update(name, change, namespace=namespace), secrets=secrets)

    def pause_inference_endpoint(self, name: str, *, namespace: str | None = None) -> EndpointHandle:
        """Pause: nothing is billed, and only a resume starts it again."""
        return self._handle(self.get_conn().pause_inference_endpoint(name, namespace=namespace))

    def resume_inference_endpoint(
        self, name: str, *, namespace: str | None = None, running_ok: bool = True
    ) -> EndpointHandle:
        """Resume; that it runs already is an error only where `running_ok` is False."""
        snapshot = self.get_conn().resume_inference_endpoint(name, namespace=namespace, running_ok=running_ok)
        return self._handle(snapshot, resumed_at=datetime.now(UTC))

    def scale_to_zero_inference_endpoint(self, name: str, *, namespace: str | None = None) -> EndpointHandle:
        """Scale to zero: nothing is billed, and any authorised request starts it again."""
        return self._handle(self.get_conn().scale_to_zero_inference_endpoint(name, namespace=namespace))

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
        return self.get_conn().delete_inference_endpoint(
            name, namespace=namespace, missing_ok=missing_ok, wait=wait, timeout=timeout
        )

    def debug_inference_endpoint(self, name: str, *, namespace: str | None = None) -> EndpointHandle:
        """Run the service's debugger agent; what it finds comes in `agent_message`."""
        return self._handle(self.get_conn().debug_inference_endpoint(name, namespace=namespace))

    def get_inference_endpoint_logs(
        self, name: str, *, namespace: str | None = None, tail: int = 100, **filters: Any
    ) -> list[LogEntry]:
        """The last `tail` lines, oldest first, without the endpoint's secrets.

        Filters: see `EndpointsClient.get_inference_endpoint_logs`, which hides nothing.
        """
        return self.get_inference_endpoint(name, namespace=namespace).logs(tail=tail, **filters)

    def list_inference_endpoint_replicas(self, name: str, *, namespace: str | None = None) -> list[Replica]:
        """The replicas and their stages."""
        return self.get_conn().list_inference_endpoint_replicas(name, namespace=namespace)

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
        return self.get_conn().get_inference_endpoint_metric(
            name, which, start=start, stop=stop, replica_id=replica_id, namespace=namespace
        )

    def get_inference_endpoint_cost(
        self, name: str, *, start: datetime, stop: datetime | None = None, namespace: str | None = None
    ) -> Cost:
        """What the endpoint cost between two aware datetimes (default: until now), in replica-seconds and USD."""
        return self.get_conn().get_inference_endpoint_cost(name, start=start, stop=stop, namespace=namespace)

    def sum_costs(self, dag_id: str, *, since: datetime | None = None, until: datetime | None = None) -> CostSum:
        """What the runs of a DAG that ended between two aware datetimes (default: ever) have cost.

        The tasks that release an endpoint keep its cost, below the connection's `lease_path` or else in one Airflow
        Variable for each DAG. In a Variable older costs are folded into sums by day, month and year: such a sum counts
        as a whole if its day, month or year (UTC) begins in the time asked for. Raises `InferenceEndpointError` if the
        costs cannot be read.
        """
        try:
            return CostRecords(self.kept_at).sum(dag_id, since, until)
        except StoreError as error:
            raise InferenceEndpointError(f"Could not sum the costs of DAG {dag_id!r}. {error}") from error

    def list_inference_endpoints_hardware(
        self, *, namespace: str | None = None, with_quota: bool = True
    ) -> list[Hardware]:
        """Every instance with its price per replica and hour, and the namespace's quota."""
        return self.get_conn().list_inference_endpoints_hardware(namespace=namespace, with_quota=with_quota)

    def list_inference_endpoints_quotas(self, *, namespace: str | None = None) -> list[Quota]:
        """Accelerators that the namespace may use and uses."""
        return self.get_conn().list_inference_endpoints_quotas(namespace=namespace)

    def list_inference_catalog(self, **filters: Any) -> list[InferenceCatalogModel]:
        """Models with tested recipes. Filters: `accelerator`, `engine`, `license`, `task`, `search`, `limit`."""
        return self.get_conn().list_inference_catalog(**filters)


def _masked_secrets(change: EndpointUpdate) -> tuple[str, ...]:
    """The secret values of a request. They are masked before a log line can contain them."""
    secrets = tuple(change.secret_values())
    for secret in secrets:
        _mask(secret)
    return secrets


def _mask(secret: str) -> None:
    """Have Airflow mask `secret` in its logs, once per process."""
    if hash(secret) in _masked:
        return
    try:
        mask_secret(secret)
    except RuntimeError as error:
        # Airflow 3.0 raises outside of its processes. There it writes no logs.
        log.debug("No secrets to mask: %s", error)
        return
    _masked.add(hash(secret))
