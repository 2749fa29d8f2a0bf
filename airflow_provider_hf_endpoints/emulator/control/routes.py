"""The routes of the control plane, whoami and the catalog: permissions, the method of `Service`, and the JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from airflow_provider_hf_endpoints.emulator.control import account, catalog, queries
from airflow_provider_hf_endpoints.emulator.errors import ApiError
from airflow_provider_hf_endpoints.emulator.http import error_response, json_response, parse_request
from airflow_provider_hf_endpoints.emulator.service.record import Endpoint
from airflow_provider_hf_endpoints.emulator.service.service import Service
from airflow_provider_hf_endpoints.emulator.service.view import replica_json
from airflow_provider_hf_endpoints.emulator.settings import Token

Handler = Callable[[Request], Awaitable[Response]]

FOLLOW_SECONDS = 10.0  # how long a followed log stays open; the service's stays open until the client leaves


def catching(handler: Handler) -> Handler:
    """`handler`, with its ApiErrors turned into answers."""

    async def caught(request: Request) -> Response:
        try:
            return await handler(request)
        except ApiError as error:
            return error_response(error)

    return caught


class ControlPlane:
    """One method per route, over the service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._deployed = 0

    def routes(self) -> list[Route]:
        one = "/v2/endpoint/{namespace}/{name}"
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/v2/endpoint/{namespace}", self.list_endpoints),
            ("POST", "/v2/endpoint/{namespace}", self.create),
            ("GET", one, self.get),
            ("PUT", one, self.update),
            ("DELETE", one, self.delete),
            ("POST", f"{one}/pause", self.pause),
            ("POST", f"{one}/resume", self.resume),
            ("POST", f"{one}/scale-to-zero", self.scale_to_zero),
            ("POST", f"{one}/agent/debug", self.debug),
            ("GET", f"{one}/replica", self.replicas),
            ("GET", f"{one}/logs", self.logs_text),
            ("GET", "/v3/endpoint/{namespace}/{name}/logs", self.logs_json),
            ("GET", f"{one}/metrics/replica-ids", self.replica_ids),
            ("POST", f"{one}/metrics/replica-running", self.running_graph),
            ("POST", f"{one}/metrics/pending-request", self.pending_graph),
            ("GET", "/v2/provider", self.price_list),
            ("GET", "/v2/provider/quotas/{namespace}", self.quotas),
            ("GET", "/v2/provider/{namespace}", self.price_list_of),
            ("GET", "/api/whoami-v2", self.whoami),
            ("GET", "/api/v1/catalog/list", self.catalog_list),
            ("POST", "/api/v1/catalog/model/{repo:path}/deploy", self.deploy_model),
            ("POST", "/api/v1/catalog/recipe/{recipe}/deploy", self.deploy_recipe),
        ]
        return [Route(path, catching(handler), methods=[method]) for method, path, handler in table]

    # ------------------------------------------------------------------------------------------- helpers

    def _token(self, request: Request) -> Token:
        return account.authenticate(self._service.settings, request.headers.get("authorization"))

    def _allow(self, request: Request, permission: str) -> tuple[str, Token]:
        """The namespace of the request, its token checked. Raises ApiError 401 or 403."""
        token, namespace = self._token(request), str(request.path_params["namespace"])
        account.authorize(self._service.settings, token, permission, namespace)
        return namespace, token

    def _endpoint(self, request: Request, permission: str = "read") -> Endpoint:
        namespace, _ = self._allow(request, permission)
        return self._service.get(namespace, request.path_params["name"])

    def _answer(self, endpoint: Endpoint) -> Response:
        return json_response(self._service.json(endpoint))

    def _by(self, token: Token) -> str:
        return account.user_of(self._service.settings, token)

    # ------------------------------------------------------------------------------------------- endpoints

    async def list_endpoints(self, request: Request) -> Response:
        namespace, _ = self._allow(request, "read")
        found, rest = queries.list_page(self._service.all(namespace), request.query_params)
        return json_response({"items": [self._service.json(endpoint) for endpoint in found], **rest})

    async def create(self, request: Request) -> Response:
        namespace, token = self._allow(request, "write")
        body = parse_request(await request.body())
        account.require_payment(self._service.settings, namespace)
        return self._answer(self._service.create(namespace, body, self._by(token)))

    async def get(self, request: Request) -> Response:
        return self._answer(self._endpoint(request))

    async def update(self, request: Request) -> Response:
        namespace, token = self._allow(request, "write")
        body = parse_request(await request.body())
        name = request.path_params["name"]
        return self._answer(self._service.update(namespace, name, body, self._by(token)))

    async def delete(self, request: Request) -> Response:
        endpoint = self._endpoint(request, "write")
        self._service.delete(endpoint.namespace, endpoint.name)
        return json_response({}, self._service.settings.delete_status)

    async def pause(self, request: Request) -> Response:
        endpoint = self._endpoint(request, "write")
        return self._answer(self._service.pause(endpoint.namespace, endpoint.name))

    async def resume(self, request: Request) -> Response:
        endpoint = self._endpoint(request, "write")
        account.require_payment(self._service.settings, endpoint.namespace)
        return self._answer(self._service.resume(endpoint.namespace, endpoint.name))

    async def scale_to_zero(self, request: Request) -> Response:
        endpoint = self._endpoint(request, "write")
        return self._answer(self._service.scale_to_zero(endpoint.namespace, endpoint.name))

    async def debug(self, request: Request) -> Response:
        endpoint = self._endpoint(request)
        return self._answer(self._service.explain(endpoint.namespace, endpoint.name))

    async def replicas(self, request: Request) -> Response:
        endpoint, now = self._endpoint(request), self._service.now()
        return json_response({"items": [replica_json(endpoint, replica, now) for replica in endpoint.replicas]})

    # ------------------------------------------------------------------------------------------- logs and metrics

    async def logs_text(self, request: Request) -> Response:
        endpoint = self._endpoint(request)
        text = queries.log_text(endpoint, request.query_params)
        if request.query_params.get("follow", "").lower() not in ("true", "1"):
            return PlainTextResponse(text)
        return StreamingResponse(self._follow(endpoint, text, request), media_type="text/plain")

    async def _follow(self, endpoint: Endpoint, text: str, request: Request) -> AsyncIterator[str]:
        yield text
        seen, ends = len(endpoint.logs), self._service.now() + FOLLOW_SECONDS
        while self._service.now() < ends and not await request.is_disconnected():
            current = self._service.by_id(endpoint.id)
            if current is None:
                return
            for line in current.logs[seen:]:
                yield f"{line.line}\n"
            seen = len(current.logs)
            await asyncio.sleep(0.05)

    async def logs_json(self, request: Request) -> Response:
        endpoint = self._endpoint(request)
        if not self._service.settings.log_search:
            raise ApiError(501, "log search is not available on this deployment")
        path = f"{self._service.base_url}{request.url.path}"
        entries, link = queries.log_entries(endpoint, request.query_params, path)
        return json_response(entries, headers={"Link": link} if link else None)

    async def running_graph(self, request: Request) -> Response:
        endpoint = self._endpoint(request)
        return json_response(queries.replicas_graph(endpoint, parse_request(await request.body())))

    async def replica_ids(self, request: Request) -> Response:
        return json_response([replica.id for replica in self._endpoint(request).replicas])

    async def pending_graph(self, request: Request) -> Response:
        endpoint = self._endpoint(request)
        samples = self._service.traffic(endpoint).pending
        return json_response(queries.pending_graph(samples, parse_request(await request.body())))

    # ------------------------------------------------------------------------------------------- hardware

    async def price_list(self, request: Request) -> Response:
        return json_response(self._service.price_list(None))

    async def price_list_of(self, request: Request) -> Response:
        namespace, _ = self._allow(request, "read")
        return json_response(self._service.price_list(namespace))

    async def quotas(self, request: Request) -> Response:
        namespace, _ = self._allow(request, "read")
        return json_response(self._service.quota_list(namespace))

    # ------------------------------------------------------------------------------------------- hub and catalog

    async def whoami(self, request: Request) -> Response:
        token = account.find_token(self._service.settings, request.headers.get("authorization"))
        if token is None:
            # The Hub has other words and another form than the control plane.
            return json_response({"error": "Invalid credentials in Authorization header"}, 401)
        return json_response(account.whoami(self._service.settings, token))

    async def catalog_list(self, request: Request) -> Response:
        return json_response(catalog.list_models(request.query_params))

    async def deploy_model(self, request: Request) -> Response:
        return await self._deploy(request, lambda body: catalog.by_repository(request.path_params["repo"], body))

    async def deploy_recipe(self, request: Request) -> Response:
        return await self._deploy(request, lambda _: catalog.by_recipe(request.path_params["recipe"]))

    async def _deploy(
        self, request: Request, choose: Callable[[dict[str, Any]], tuple[catalog.Model, catalog.Recipe]]
    ) -> Response:
        token, body = self._token(request), parse_request(await request.body())
        if not isinstance(body, dict) or not isinstance(body.get("namespace"), str):
            raise ApiError(422, "body: missing field `namespace`")
        config = body.get("config") or {}
        if not isinstance(config, dict):
            raise ApiError(422, "config: expected an object")
        namespace = body["namespace"]
        account.authorize(self._service.settings, token, "write", namespace)
        account.require_payment(self._service.settings, namespace)
        model, recipe = choose(body)
        self._deployed += 1
        spec = catalog.deployment(model, recipe, config.get("name"), self._deployed)
        endpoint = self._service.create(namespace, spec, self._by(token))
        return json_response({"endpoint": self._service.json(endpoint)})
