"""Every call of the control plane and the proxy's answers in every state, on one endpoint, in the cheapest order.

The same visit is paid to the real service and to the emulator. It asserts nothing: what it saw is in the recorder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from airflow_provider_hf_endpoints.endpoints.api import requests
from airflow_provider_hf_endpoints.endpoints.api.flows import Answer, Flow
from airflow_provider_hf_endpoints.endpoints.api.requests import Request
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.endpoints.models import DELETED, InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec
from airflow_provider_hf_endpoints.endpoints.waiting.readiness import Failed, Goal, Ready, TimedOut
from tests.system.recording import RecordingClient

_MISSING = "no-such-endpoint-here"
_WAKE_SECONDS = 600  # how long the proxy is asked to hold a request to an endpoint at zero
_QUESTION = [{"role": "user", "content": "Say hello."}]


@dataclass
class Visit:
    """One visit.

    :param spec: the endpoint to create; it is deleted at the end.
    :param patience: seconds to wait for a state.
    """

    client: RecordingClient
    spec: EndpointSpec
    patience: float
    _last_url: str = field(default="", init=False)

    @property
    def name(self) -> str:
        """The endpoint's name."""
        return self.spec.name

    @property
    def catalog_name(self) -> str:
        """The name of the one that is made from the catalog, for a moment."""
        return f"{self.name}-c"

    def run(self) -> None:
        """Everything, in order. What can't be done because an earlier step failed is left out."""
        self.account()
        self.refusals()
        if not self._create():
            return
        self._while_running()
        self._update()
        self._to_zero_and_back()
        self._pause_and_resume()
        self._delete()
        self._from_the_catalog()

    def account(self) -> None:
        """What the account has and may use; nothing is created."""
        client, step = self.client, self.client.recorder.step
        with step("whoami"):
            me = client.whoami()
            client.recorder.hide(me.name, "the-user")
        namespace = client.default_namespace()
        client.recorder.hide(namespace, "the-namespace")
        client.recorder.hide(self.name, "the-endpoint")
        client.recorder.hide(self.catalog_name, "the-endpoint")
        with step("hardware without namespace"):
            client.list_inference_endpoints_hardware(with_quota=False)
        with step("hardware with quota"):
            client.list_inference_endpoints_hardware()
        with step("quotas"):
            client.list_inference_endpoints_quotas()
        with step("catalog"):
            client.list_inference_catalog(limit=3)
        with step("catalog by engine and task"):
            client.list_inference_catalog(engine="llamacpp", task="text-generation", limit=3)
        with step("list"):
            client.list_inference_endpoints(search=self.name)
        with step("list with every filter"):
            client.list_inference_endpoints(
                state=["running"], type=["authenticated"], task=["text-generation"], tags=["none"],
                search=self.name, sort_by="name", direction="asc", limit=1,
            )  # fmt: skip

    def refusals(self) -> None:
        """What the service says no to; nothing is created."""
        client, step = self.client, self.client.recorder.step
        namespace = client.default_namespace()
        home = f"/v2/endpoint/{namespace}"
        with step("wrong token"):
            client.call("GET", home, token="hf_thistokenisnoneatall0000000000")
        with step("no token"):
            client.call("GET", home, token=None)
        with step("another namespace"):
            client.call("GET", "/v2/endpoint/huggingface-no-such-organisation")
        with step("missing endpoint"):
            client.get_inference_endpoint(_MISSING)
        for action in ("pause", "resume", "scale-to-zero"):
            with step(f"{action} a missing endpoint"):
                client.call("POST", f"{home}/{_MISSING}/{action}")
        with step("delete a missing endpoint"):
            client.delete_inference_endpoint(_MISSING)
        with step("no such route"):
            client.call("GET", f"{home}/{_MISSING}/no-such-route")
        body = self.spec.payload()
        compute = body["compute"]
        impatient = {**compute["scaling"], "scaleToZeroTimeout": 5}
        refused: dict[str, Mapping[str, Any]] = {
            "create: unknown hardware": {**body, "compute": {**compute, "instanceType": "no-such-instance"}},
            "create: idle timeout of 5 minutes": {**body, "compute": {**compute, "scaling": impatient}},
            "create: name of 33 characters": {**body, "name": "a" * 33},
            "create: name with capitals": {**body, "name": "Has-Capitals"},
            "create: no model": {key: value for key, value in body.items() if key != "model"},
            "create: unknown engine": {**body, "model": {**body["model"], "image": {"noSuchEngine": {"url": "x"}}}},
        }
        for name, payload in refused.items():
            with step(name):
                client.call("POST", home, json=payload)
        with step("create: no JSON"):
            client.call("POST", home, content=b"{", headers={"Content-Type": "application/json"})

    def _create(self) -> bool:
        client, step = self.client, self.client.recorder.step
        with step("create"):
            client.create(self.spec)
        with step("create again"):
            client.call("POST", f"/v2/endpoint/{client.default_namespace()}", json=self.spec.payload())
        with step("get while starting"):
            self._look()
        with step("replicas while starting"):
            client.list_inference_endpoint_replicas(self.name)
        with step("ask while starting"):
            self._ask()
        with step("wait until it answers"):
            self._wait("running")
        return client.recorder.outcomes["wait until it answers"] == "ok"

    def _while_running(self) -> None:
        client, step = self.client, self.client.recorder.step
        with step("get while running"):
            self._look()
        with step("list while running"):
            client.list_inference_endpoints(search=self.name)
        with step("list of every namespace"):
            client.list_inference_endpoints("*", search=self.name)
        with step("ask while running"):
            self._ask()
        with step("ask with a wrong token"):
            self._ask(token="hf_thistokenisnoneatall0000000000")
        with step("health without a token"):
            client.call("GET", self._url() + "/health", token=None)
        with step("models"):
            client.call("GET", self._url() + "/v1/models")
        with step("no such route of the engine"):
            client.call("GET", self._url() + "/no-such-route")
        with step("more tokens than the context holds"):
            self._ask(messages=[{"role": "user", "content": "word " * 6000}])
        with step("replicas while running"):
            client.list_inference_endpoint_replicas(self.name)
        with step("logs"):
            client.get_inference_endpoint_logs(self.name, tail=5)
        with step("logs as text"):
            client.run(_send(requests.logs_v2(client.default_namespace(), self.name, tail=5)))
        now = datetime.now(UTC)
        for which in ("replica-running", "pending-request"):
            with step(f"metric {which}"):
                client.get_inference_endpoint_metric(self.name, which, start=now - timedelta(minutes=10), stop=now)
        with step("debug agent"):
            client.debug_inference_endpoint(self.name)
        with step("resume while running"):
            client.call("POST", f"/v2/endpoint/{client.default_namespace()}/{self.name}/resume")

    def _update(self) -> None:
        client, step = self.client, self.client.recorder.step
        with step("update: tags"):
            client.update_inference_endpoint(self.name, tags=["a-tag"])
        with step("wait after the tags"):
            self._wait("running")
        with step("update: scaling"):
            client.update_inference_endpoint(self.name, max_replica=2, scale_to_zero_timeout=30)
        with step("wait after the scaling"):
            self._wait("running")
        with step("update: an old type"):
            home = f"/v2/endpoint/{client.default_namespace()}/{self.name}"
            client.call("PUT", home, json={"type": "protected"})
        with step("update: the type back"):
            client.update_inference_endpoint(self.name, type="authenticated")
        with step("update: unknown hardware"):
            compute = {"accelerator": "cpu", "instanceType": "no-such-instance", "instanceSize": "x1"}
            client.call("PUT", home, json={"compute": compute})
        with step("wait after the type"):
            self._wait("running")

    def _to_zero_and_back(self) -> None:
        client, step = self.client, self.client.recorder.step
        with step("scale to zero"):
            client.scale_to_zero_inference_endpoint(self.name)
        with step("wait until it is at zero"):
            self._wait("scaledToZero", on_scaled_to_zero="accept")
        with step("health with a wrong token at zero"):
            client.call("GET", self._url() + "/health", token="hf_thistokenisnoneatall0000000000")
        with step("still at zero"):
            self._look()
        with step("ask at zero"):
            self._ask()
        with step("ask at zero and let the proxy hold the request"):
            self._ask(hold=_WAKE_SECONDS)
        with step("wait until it is awake"):
            self._wait("running")

    def _pause_and_resume(self) -> None:
        client, step = self.client, self.client.recorder.step
        home = f"/v2/endpoint/{client.default_namespace()}/{self.name}"
        with step("pause"):
            client.pause_inference_endpoint(self.name)
        with step("wait until it is paused"):
            self._wait("paused")
        with step("pause again"):
            client.call("POST", f"{home}/pause")
        with step("scale to zero while paused"):
            client.call("POST", f"{home}/scale-to-zero")
        with step("ask while paused"):
            self._ask()
        with step("health while paused"):
            client.call("GET", self._url() + "/health")
        with step("replicas while paused"):
            client.list_inference_endpoint_replicas(self.name)
        with step("logs while paused"):
            client.get_inference_endpoint_logs(self.name, tail=5)
        with step("update while paused"):
            client.update_inference_endpoint(self.name, max_replica=1)
        with step("still paused"):
            self._look()
        with step("resume"):
            client.resume_inference_endpoint(self.name)
        with step("pause while it starts"):
            client.pause_inference_endpoint(self.name)

    def _delete(self) -> None:
        client, step = self.client, self.client.recorder.step
        with step("delete"):
            client.run(_send(requests.delete(client.default_namespace(), self.name)))
        with step("wait until it is gone"):
            self._wait(DELETED)
        with step("ask when it is gone"):
            self._ask()
        with step("delete again"):
            client.delete_inference_endpoint(self.name)

    def _from_the_catalog(self) -> None:
        """Created and deleted at once, on CPU hardware; left out where the catalog has nothing for a CPU."""
        client, step = self.client, self.client.recorder.step
        recipes = [
            recipe.id
            for model in client.list_inference_catalog(accelerator="cpu", limit=20)
            for recipe in model.recipes
            if recipe.accelerator == "cpu"
        ]
        if not recipes:
            return
        with step("create from the catalog"):
            client.create_inference_endpoint_from_catalog(recipe_id=recipes[0], name=self.catalog_name)
        with step("delete the one from the catalog"):
            client.delete_inference_endpoint(self.catalog_name)

    # Parts of steps

    def _look(self) -> InferenceEndpoint:
        endpoint = self.client.get_inference_endpoint(self.name)
        self._last_url = (endpoint.url or "").rstrip("/")
        return endpoint

    def _url(self) -> str:
        return self._last_url or (self._look().url or "").rstrip("/")

    def _ask(self, *, token: str | None = "", messages: Any = None, hold: int | None = None) -> httpx.Response | None:
        """One chat completion, as it is. None where there is no address to send it to yet."""
        if not self._url():
            return None
        headers = {} if hold is None else {"X-Scale-Up-Timeout": str(hold)}
        body = {"model": self.spec.repository, "messages": messages or _QUESTION, "max_tokens": 8, "temperature": 0}
        url = self._url() + "/v1/chat/completions"
        return self.client.call("POST", url, token=token, headers=headers, json=body, timeout=(hold or 60) + 60)

    def _wait(self, state: str, **options: Any) -> None:
        """Wait as the provider does. Raises the typed error of a wait that ended otherwise."""
        now = datetime.now(UTC)
        goal = Goal(
            started=now, deadline=now + timedelta(seconds=self.patience), target_states=frozenset({state}), **options
        )
        match self.client.wait(self.name, goal):
            case Ready():
                if state != DELETED:
                    self._look()
            case Failed(reason=reason) | TimedOut(reason=reason):
                raise InferenceEndpointError(f"{self.name}: {reason}")


def _send(request: Request) -> Flow[Answer]:
    """One request as a flow: with the client's retries and errors, and nothing of a flow's own."""
    answer: Answer = yield request
    return answer
