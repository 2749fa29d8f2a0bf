"""The emulator's own routes below `/_emulator/`, without a token: history, cost, faults and settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from airflow_provider_hf_endpoints.emulator.control import page
from airflow_provider_hf_endpoints.emulator.control.routes import catching
from airflow_provider_hf_endpoints.emulator.errors import ApiError
from airflow_provider_hf_endpoints.emulator.faults import Fault, FaultBook
from airflow_provider_hf_endpoints.emulator.http import json_response, parse_json
from airflow_provider_hf_endpoints.emulator.recorded import RecordedRequest
from airflow_provider_hf_endpoints.emulator.service.record import Endpoint
from airflow_provider_hf_endpoints.emulator.service.service import Service
from airflow_provider_hf_endpoints.emulator.service.view import timestamp

_FAULT = TypeAdapter(Fault)
_ABOUT = """This is an emulator of Hugging Face Inference Endpoints, part of airflow-provider-hf-endpoints.
It is not Hugging Face's service: nothing here costs money, and nothing here is a real deployment.

  /v2, /v3           the control plane
  /api/whoami-v2     who a token belongs to
  /api/v1/catalog    the catalog
  /endpoints/{id}    an endpoint's data plane
  /_emulator/        requests, meter, history, faults, behaviours, clock

  /{namespace}/endpoints/{name}   a page for your browser: state, cost, history, last requests
"""


def history_json(endpoint: Endpoint) -> list[dict[str, Any]]:
    """The history of states of `endpoint`, as JSON."""
    return [
        {"at": timestamp(moment.at), "seconds": moment.at, "state": moment.state, "message": moment.message}
        for moment in endpoint.history
    ]


class Admin:
    """The routes, over the service, the faults and the recorded requests."""

    def __init__(self, service: Service, faults: FaultBook, requests: Iterable[RecordedRequest]) -> None:
        self._service = service
        self._faults = faults
        self._requests = requests

    def routes(self) -> list[Route]:
        table = [
            ("GET", "/", self.about),
            ("GET", "/_emulator", self.about),
            ("GET", "/_emulator/requests", self.requests),
            ("GET", "/_emulator/meter", self.meter),
            ("GET", "/_emulator/meter/{namespace}/{name}", self.meter_of),
            ("GET", "/_emulator/history/{namespace}/{name}", self.history),
            ("GET", "/_emulator/faults", self.faults),
            ("POST", "/_emulator/faults", self.add_fault),
            ("DELETE", "/_emulator/faults", self.clear_faults),
            ("POST", "/_emulator/behaviours", self.behave),
            ("POST", "/_emulator/capacity", self.capacity),
            ("POST", "/_emulator/quota", self.quota),
            ("POST", "/_emulator/clock", self.clock),
            ("GET", page.ROUTE, self.page),
        ]
        return [Route(path, catching(handler), methods=[method]) for method, path, handler in table]

    async def about(self, _: Request) -> Response:
        return PlainTextResponse(_ABOUT)

    async def requests(self, _: Request) -> Response:
        return json_response({"items": [request.as_json() for request in list(self._requests)]})

    async def meter(self, _: Request) -> Response:
        meters = [self._service.meter(endpoint) for endpoint in self._service.everything()]
        return json_response({"items": meters, "usd": sum(meter["usd"] for meter in meters)})

    async def meter_of(self, request: Request) -> Response:
        return json_response(self._service.meter(self._ever(request)))

    async def history(self, request: Request) -> Response:
        return json_response({"items": history_json(self._ever(request))})

    async def page(self, request: Request) -> Response:
        return HTMLResponse(page.render(self._service, self._ever(request), list(self._requests)))

    def _ever(self, request: Request) -> Endpoint:
        endpoint = self._service.ever(request.path_params["name"], request.path_params["namespace"])
        if endpoint is None:
            raise ApiError(404, "there never was such an endpoint")
        return endpoint

    async def faults(self, _: Request) -> Response:
        return json_response({"items": self._faults.report()})

    async def add_fault(self, request: Request) -> Response:
        body = await _object(request)
        try:
            self._faults.add(_FAULT.validate_python(body))
        except ValueError as error:
            raise ApiError(422, str(error)) from None
        return json_response({"items": self._faults.report()})

    async def clear_faults(self, _: Request) -> Response:
        self._faults.clear()
        return json_response({"items": []})

    async def behave(self, request: Request) -> Response:
        body = await _object(request)
        name = body.pop("name", None)
        if not isinstance(name, str):
            raise ApiError(422, "missing field `name`")
        try:
            self._service.set_behaviour(name, **body)
        except ValueError as error:
            raise ApiError(422, str(error)) from None
        return json_response({})

    async def capacity(self, request: Request) -> Response:
        body = await _object(request)
        if not isinstance(body.get("hardware"), str) or not isinstance(body.get("available"), bool):
            raise ApiError(422, "expected `hardware` (an instance type or an id) and `available`")
        self._service.set_capacity(body["hardware"], available=body["available"])
        return json_response({})

    async def quota(self, request: Request) -> Response:
        body = await _object(request)
        if not isinstance(body.get("instance_type"), str) or not isinstance(body.get("accelerators"), int):
            raise ApiError(422, "expected `instance_type` and `accelerators`")
        self._service.set_quota(body["instance_type"], max(0, body["accelerators"]))
        return json_response({})

    async def clock(self, request: Request) -> Response:
        body = await _object(request)
        seconds, stop = body.get("advance", 0), body.get("stop", False)
        named = body.keys() and body.keys() <= {"advance", "stop"}
        if not named or not isinstance(stop, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 10**8:
            raise ApiError(422, "expected `advance`, in seconds, or `stop`, true or false")
        if stop:
            self._service.clock.stop()
        self._service.clock.advance(seconds)
        return json_response({"now": timestamp(self._service.now())})


async def _object(request: Request) -> dict[str, Any]:
    body = parse_json(await request.body())
    if not isinstance(body, dict):
        raise ApiError(422, "expected an object")
    return body
