"""What the control plane answers, as frozen pydantic models.

Answers are read tolerantly: unknown fields and states never break parsing, fields that older answers lack have
defaults, and `raw` keeps the whole answer. What a caller *asks for* is in `spec.py`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Annotated, Any, NamedTuple, Self

from pydantic import (
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from airflow_provider_hf_endpoints.endpoints.concealing import without_secrets
from airflow_provider_hf_endpoints.endpoints.tolerant_fields import (
    FalseUnlessTrue,
    IntOrZero,
    MaybeDatetime,
    MaybeFloat,
    MaybeInt,
    MaybeStr,
    OrNone,
    StringMap,
    TextOrEmpty,
    readable,
)


class InferenceEndpointStatus(StrEnum):
    """The states the service documents. A state that is not one of these is kept as a plain string."""

    PENDING = "pending"
    INITIALIZING = "initializing"
    UPDATING = "updating"
    UPDATE_FAILED = "updateFailed"
    RUNNING = "running"
    PAUSED = "paused"
    FAILED = "failed"
    SCALED_TO_ZERO = "scaledToZero"


#: The target state of a wait for a deletion. The service has no such state.
DELETED = "deleted"

# The sets of states that decisions are made by, each once.
#: Something is wrong, and waiting does not mend it.
BROKEN = frozenset({InferenceEndpointStatus.FAILED, InferenceEndpointStatus.UPDATE_FAILED})
#: Somebody, or its idleness, has stopped it; nothing is wrong.
PARKED = frozenset({InferenceEndpointStatus.PAUSED, InferenceEndpointStatus.SCALED_TO_ZERO})
#: Only a resume leads on from here; at zero a request does.
NEEDS_RESUME = frozenset({InferenceEndpointStatus.PAUSED, InferenceEndpointStatus.FAILED})
#: Every replica is billed.
BILLED = frozenset(
    {
        InferenceEndpointStatus.INITIALIZING,
        InferenceEndpointStatus.RUNNING,
        InferenceEndpointStatus.UPDATING,
        InferenceEndpointStatus.UPDATE_FAILED,
    }
)
#: It bills, or is about to.
COSTLY = BILLED | {InferenceEndpointStatus.PENDING}
#: It costs nothing until somebody starts it.
BILLS_NOTHING = frozenset(InferenceEndpointStatus) - COSTLY


class InferenceEndpointType(StrEnum):
    """Who may call an endpoint."""

    PUBLIC = "public"
    AUTHENTICATED = "authenticated"
    PRIVATE = "private"


class InferenceEndpointScalingMetric(StrEnum):
    """What the service's autoscaler looks at."""

    PENDING_REQUESTS = "pendingRequests"
    HARDWARE_USAGE = "hardwareUsage"


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Difference(_Answer):
    """A setting that was sent and is not what the service then answered.

    The service drops fields it does not know and coerces an unknown `type` to `private`, both with status 200, so what
    was created has to be compared with what was asked for.
    """

    field: str
    sent: Any
    answered: Any = None
    dropped: bool = False

    def __str__(self) -> str:
        """`model.env.X: sent 1, the service answered 2`."""
        got = "ignored it" if self.dropped else f"answered {self.answered!r}"
        return f"{self.field}: sent {self.sent!r}, but the service {got}"


class Place(NamedTuple):
    """Where replicas run: what has one price. A part that an answer lacks is None."""

    vendor: str | None
    region: str | None
    instance_type: str | None
    instance_size: str | None

    @property
    def path(self) -> str:
        """`vendor/region/instance-type/instance-size`, as people write it."""
        return "/".join(map(str, self))


@dataclass(frozen=True)
class EndpointSummary:
    """What operators, sensor and events say of an endpoint: small and free of secrets, fit for an XCom.

    The one place of these fields; `docs/reference/operators/index.md` lists them, and a test compares the two.
    """

    name: str
    namespace: str
    state: str
    url: str | None

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """The names of the fields."""
        return tuple(field.name for field in fields(cls))

    def as_dict(self) -> dict[str, str | None]:
        """JSON-native, as tasks return it."""
        return asdict(self)


class InferenceEndpoint(_Answer):
    """One endpoint as the service described it at one moment.

    `status` is the state's name (see `InferenceEndpointStatus`), `engine` the key of `model.image` (`vLLM`, `tgi`,
    `huggingface` …). `url` stays set while an endpoint is paused, so it says nothing about whether it runs.
    `unapplied` holds, after a create or an update only, what the service silently dropped or changed; `updated_from`,
    after an update only, the state that the endpoint was in before.
    """

    name: str
    namespace: str
    repository: TextOrEmpty = Field("", validation_alias=AliasPath("model", "repository"))
    status: str = Field(validation_alias=AliasPath("status", "state"))
    url: MaybeStr = Field(None, validation_alias=AliasPath("status", "url"))
    health_route: TextOrEmpty = Field("", validation_alias="healthRoute", repr=False)
    framework: MaybeStr = Field(None, validation_alias=AliasPath("model", "framework"), repr=False)
    revision: MaybeStr = Field(None, validation_alias=AliasPath("model", "revision"), repr=False)
    task: MaybeStr = Field(None, validation_alias=AliasPath("model", "task"), repr=False)
    image: StringMap = Field(default_factory=dict, validation_alias=AliasPath("model", "image"), repr=False)
    type: MaybeStr = Field(None, repr=False)
    message: TextOrEmpty = Field("", validation_alias=AliasPath("status", "message"), repr=False)
    error_message: MaybeStr = Field(None, validation_alias=AliasPath("status", "errorMessage"), repr=False)
    agent_message: MaybeStr = Field(None, validation_alias=AliasPath("status", "agentMessage"), repr=False)
    ready_replica: IntOrZero = Field(0, validation_alias=AliasPath("status", "readyReplica"), repr=False)
    target_replica: IntOrZero = Field(0, validation_alias=AliasPath("status", "targetReplica"), repr=False)
    created_at: MaybeDatetime = Field(None, validation_alias=AliasPath("status", "createdAt"), repr=False)
    updated_at: MaybeDatetime = Field(None, validation_alias=AliasPath("status", "updatedAt"), repr=False)
    last_used_at: MaybeDatetime = Field(None, validation_alias=AliasPath("status", "lastUsedAt"), repr=False)
    vendor: MaybeStr = Field(None, validation_alias=AliasPath("provider", "vendor"), repr=False)
    region: MaybeStr = Field(None, validation_alias=AliasPath("provider", "region"), repr=False)
    accelerator: MaybeStr = Field(None, validation_alias=AliasPath("compute", "accelerator"), repr=False)
    instance_type: MaybeStr = Field(None, validation_alias=AliasPath("compute", "instanceType"), repr=False)
    instance_size: MaybeStr = Field(None, validation_alias=AliasPath("compute", "instanceSize"), repr=False)
    scaling: StringMap = Field(default_factory=dict, validation_alias=AliasPath("compute", "scaling"), repr=False)
    tags: Annotated[list[str] | None, OrNone] = Field(None, repr=False)
    raw: dict[str, Any] = Field(default_factory=dict, repr=False)
    unapplied: tuple[Difference, ...] = Field((), repr=False)
    updated_from: str | None = Field(None, repr=False)

    @classmethod
    def from_raw(cls, raw: dict[str, Any], namespace: str, unapplied: tuple[Difference, ...] = ()) -> Self:
        """Read the service's answer. Raises `pydantic.ValidationError` when name or state are missing.

        The messages of its state, also those in `raw`, lose the endpoint's secrets: they may be a container's words.
        """
        raw = without_secrets(raw)
        return cls.model_validate({**raw, "namespace": namespace, "raw": raw, "unapplied": unapplied})

    @property
    def engine(self) -> str | None:
        """The key of `model.image`: which engine serves the model; None when the answer does not say."""
        return next(iter(self.image), None)

    @property
    def min_replica(self) -> int | None:
        """Replicas that always run; None when the answer does not say."""
        value = self.scaling.get("minReplica")
        return value if isinstance(value, int) else None

    @property
    def max_replica(self) -> int | None:
        """Replicas the autoscaler may start; None when the answer does not say."""
        value = self.scaling.get("maxReplica")
        return value if isinstance(value, int) else None

    @property
    def scale_to_zero_timeout(self) -> int | None:
        """Idle minutes before the service scales to zero; None when it never does."""
        value = self.scaling.get("scaleToZeroTimeout")
        return value if isinstance(value, int) else None

    @property
    def hardware(self) -> str:
        """`vendor/region/instance-type/instance-size`, as `Hardware.path`; a part the answer lacks is `None`."""
        return self.place.path

    @property
    def place(self) -> Place:
        """Where its replicas run."""
        return Place(self.vendor, self.region, self.instance_type, self.instance_size)

    @property
    def health_url(self) -> str | None:
        """Where readiness is asked; None while the service has given no URL.

        `healthRoute` is required by the contract, but answers without it were seen: `/health` is the engines' default.
        """
        if not self.url:
            return None
        return f"{self.url.rstrip('/')}/{(self.health_route or '/health').lstrip('/')}"

    def summary(self) -> dict[str, str | None]:
        """What is small and free of secrets, fit for an XCom: see `EndpointSummary`."""
        return EndpointSummary(self.name, self.namespace, self.status, self.url).as_dict()


class EndpointPage(_Answer):
    """One page of a list; `next_cursor` is None on the last one. `total_items` ignores the page."""

    items: list[dict[str, Any]]
    # Not tolerant: a cursor that is not understood would end the list early without a word.
    next_cursor: str | None = Field(None, validation_alias="nextCursor")
    total_items: IntOrZero = Field(0, validation_alias="totalItems")


class Hardware(_Answer):
    """An instance that endpoints can run on, with its price (USD per replica and hour) and the namespace's quota."""

    id: TextOrEmpty = ""
    vendor: str
    region: str
    accelerator: TextOrEmpty = ""
    instance_type: str = Field(validation_alias="instanceType")
    instance_size: str = Field(validation_alias="instanceSize")
    architecture: TextOrEmpty = ""
    num_accelerators: IntOrZero = Field(0, validation_alias="numAccelerators")
    num_cpus: MaybeInt = Field(None, validation_alias="numCpus")
    memory_gb: MaybeFloat = Field(None, validation_alias="memoryGb")
    gpu_memory_gb: MaybeInt = Field(None, validation_alias="gpuMemoryGb")
    price_per_hour: MaybeFloat = Field(None, validation_alias="pricePerHour")
    status: TextOrEmpty = ""
    max_accelerators: MaybeInt = Field(None, validation_alias=AliasPath("quota", "maxAccelerators"))
    used_accelerators: MaybeInt = Field(None, validation_alias=AliasPath("quota", "usedAccelerators"))

    @property
    def path(self) -> str:
        """`vendor/region/instance-type/instance-size`, as people write it."""
        return self.place.path

    @property
    def place(self) -> Place:
        """Where its replicas run."""
        return Place(self.vendor, self.region, self.instance_type, self.instance_size)


class Quota(_Answer):
    """How many accelerators of one kind a namespace may use, and uses."""

    vendor: str
    instance_type: str = Field(validation_alias="instanceType")
    architecture: TextOrEmpty = ""
    max_accelerators: IntOrZero = Field(0, validation_alias="maxAccelerators")
    used_accelerators: IntOrZero = Field(0, validation_alias="usedAccelerators")


class Replica(_Answer):
    """One running copy of the model. `stage` is pending, downloading, pulling, initializing, running …"""

    id: str
    version_id: TextOrEmpty = Field("", validation_alias="versionId")
    stage: TextOrEmpty = Field("", validation_alias=AliasPath("status", "stage"))
    live: FalseUnlessTrue = Field(False, validation_alias=AliasPath("status", "live"))
    updating: FalseUnlessTrue = Field(False, validation_alias=AliasPath("status", "updating"))
    exit_code: MaybeInt = Field(None, validation_alias=AliasPath("status", "exitCode"))
    started_at: MaybeDatetime = Field(None, validation_alias=AliasPath("status", "startedAt"))
    stopped_at: MaybeDatetime = Field(None, validation_alias=AliasPath("status", "stoppedAt"))


class LogEntry(_Answer):
    """One line of an endpoint's log. Only `line` is known where the deployment offers no log search (v2)."""

    line: TextOrEmpty = ""
    timestamp: MaybeDatetime = None
    stream: MaybeStr = None
    replica_id: MaybeStr = None
    level: MaybeStr = None


class DataPoint(_Answer):
    """One value of a metric at one moment; None where the service has no value, which is not the same as 0."""

    x: MaybeDatetime = None
    y: MaybeFloat = None


class MetricSeries(_Answer):
    """One line of a graph; `status` says which (e.g. `running`, `pending`)."""

    status: TextOrEmpty = ""
    data: Annotated[list[DataPoint], BeforeValidator(readable(DataPoint))] = Field(default_factory=list)


class Metrics(_Answer):
    """A metric over time."""

    start: MaybeDatetime = None
    stop: MaybeDatetime = None
    time_window_seconds: IntOrZero = Field(0, validation_alias="timeWindowSeconds")
    series: Annotated[list[MetricSeries], BeforeValidator(readable(MetricSeries))] = Field(default_factory=list)


class InferenceCatalogRecipe(_Answer):
    """A tested way of deploying a catalog model: hardware kind and engine."""

    id: str = Field(validation_alias="publicId")
    accelerator: TextOrEmpty = ""
    engine: TextOrEmpty = Field("", validation_alias="engineType")
    gguf_file: MaybeStr = Field(None, validation_alias="ggufFile")
    revision: MaybeStr = None


class InferenceCatalogModel(_Answer):
    """A model of the catalog and its recipes."""

    repo_id: str = Field(validation_alias="repoId")
    name: TextOrEmpty = Field("", validation_alias="modelName")
    author: TextOrEmpty = Field("", validation_alias="authorName")
    license: MaybeStr = None
    task: MaybeStr = None
    created_at: MaybeDatetime = Field(None, validation_alias="createdAt")
    recipes: Annotated[list[InferenceCatalogRecipe], BeforeValidator(readable(InferenceCatalogRecipe))] = Field(
        default_factory=list
    )


class WhoAmI(_Answer):
    """Whose token it is and what it may do (`/api/whoami-v2` of the hub)."""

    type: TextOrEmpty = ""
    name: str
    orgs: list[str] = Field(default_factory=list)
    can_pay: Annotated[bool | None, OrNone] = Field(None, validation_alias="canPay")
    role: MaybeStr = Field(None, validation_alias=AliasPath("auth", "accessToken", "role"))
    scoped: Annotated[list[dict[str, Any]] | None, OrNone] = Field(
        None, validation_alias=AliasPath("auth", "accessToken", "fineGrained", "scoped")
    )

    @model_validator(mode="before")
    @classmethod
    def _org_names(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        listed = data.get("orgs")
        orgs = listed if isinstance(listed, list) else []
        names = [org.get("name") if isinstance(org, dict) else org for org in orgs]
        return {**data, "orgs": [name for name in names if isinstance(name, str)]}

    @property
    def namespaces(self) -> list[str]:
        """The user's own namespace first, then the organisations'."""
        own = [self.name] if self.type == "user" else []
        return own + [org for org in self.orgs if org not in own]

    def permissions(self) -> set[str] | None:
        """The scopes of a fine-grained token (e.g. `inference.endpoints.write`); None when its role decides."""
        if self.scoped is None:
            return None
        granted = (entry.get("permissions") for entry in self.scoped)
        return {scope for scopes in granted if isinstance(scopes, list) for scope in scopes if isinstance(scope, str)}
