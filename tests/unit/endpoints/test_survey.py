"""How a look at many endpoints is had in the fewest requests: the flow played by hand."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_hf_endpoints.endpoints.api.flows import Answer, Pause, Session
from airflow_provider_hf_endpoints.endpoints.api.requests import Request
from airflow_provider_hf_endpoints.endpoints.errors import EndpointNotFoundError, RateLimitError, ServiceError
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint
from airflow_provider_hf_endpoints.endpoints.waiting.survey import Found, Memory, survey


def raw(name: str, state: str = "running") -> dict[str, Any]:
    return {"name": name, "status": {"state": state}}


class Namespace:
    """The service's side of a survey: answers pages and single endpoints, and keeps what it was asked."""

    def __init__(self, names: list[str], *, page_size: int = 100, hidden: set[str] | None = None) -> None:
        self.names = names
        self.page_size = page_size
        self.hidden = hidden or set()  # exist, but the list does not show them
        self.asked: list[str] = []
        self.errors: dict[str, Exception] = {}

    def run(self, wanted: list[str], memory: Memory) -> dict[str, Found]:
        flow = survey(Session(namespace="acme"), None, wanted, memory)
        answer: Answer | None = None
        error: Exception | None = None
        while True:
            try:
                step = flow.throw(error) if error is not None else flow.send(answer)
            except StopIteration as end:
                found: dict[str, Found] = end.value
                return found
            answer = error = None
            if isinstance(step, Pause):
                continue
            assert isinstance(step, Request)
            try:
                answer = self._answer(step)
            except (EndpointNotFoundError, ServiceError) as raised:
                error = raised

    def _answer(self, request: Request) -> Answer:
        if request.path == "/v2/endpoint/acme":
            start = int(request.params.get("cursor", "0"))
            self.asked.append(f"page {start}")
            size = min(self.page_size, int(request.params["limit"]))
            shown = [name for name in self.names if name not in self.hidden]
            items = shown[start : start + size]
            cursor = str(start + size) if start + size < len(shown) else None
            return Answer(
                200, {}, {"items": [raw(n) for n in items], "totalItems": len(self.names), "nextCursor": cursor}
            )
        name = request.path.rsplit("/", 1)[1]
        self.asked.append(name)
        if name in self.errors:
            raise self.errors[name]
        if name not in self.names:
            raise EndpointNotFoundError("no", method="GET", path=request.path, status=404)
        return Answer(200, {}, raw(name))


def names(found: dict[str, Found]) -> set[str]:
    return {name for name, each in found.items() if isinstance(each, InferenceEndpoint)}


def test_one_endpoint_is_asked_for_by_name() -> None:
    """A list page for one endpoint would carry everybody else's."""
    service = Namespace([f"e{i}" for i in range(30)])
    found = service.run(["e3"], Memory())
    assert {"e3"} == names(found)
    assert service.asked == ["e3"]


def test_many_endpoints_are_had_from_list_pages() -> None:
    """A thousand endpoints of one namespace are ten requests."""
    everybody = [f"e{i}" for i in range(1000)]
    service = Namespace(everybody)
    assert set(everybody) == names(service.run(everybody, Memory()))
    assert [f"page {n}" for n in range(0, 1000, 100)] == service.asked


def test_ten_among_a_thousand_cost_no_more_than_ten_requests() -> None:
    """Where single requests are fewer than pages, they are what is sent, once the size of the namespace is known."""
    service = Namespace([f"e{i}" for i in range(1000)])
    wanted = [f"e{i}" for i in range(500, 510)]
    memory = Memory()
    service.run(wanted, memory)
    service.asked.clear()
    assert set(wanted) == names(service.run(wanted, memory))
    assert sorted(wanted) == sorted(service.asked)


def test_the_size_that_pages_really_have_is_learnt() -> None:
    """A service that gives 20 items however many are asked for makes pages dearer."""
    service = Namespace([f"e{i}" for i in range(200)], page_size=20)
    wanted = [f"e{i}" for i in range(195, 200)]
    memory = Memory()
    service.run(wanted, memory)
    assert (memory.total, memory.page_size) == (200, 20)
    service.asked.clear()
    service.run(wanted, memory)
    assert sorted(wanted) == sorted(service.asked)


def test_what_a_list_does_not_show_is_asked_for_by_name_before_it_is_called_gone() -> None:
    """Pages shift while endpoints come and go."""
    service = Namespace(["a", "b", "c", "d"], hidden={"c"})
    found = service.run(["a", "b", "c", "gone"], Memory())
    assert {"a", "b", "c"} == names(found)
    assert found["gone"] is None
    assert service.asked == ["page 0", "c", "gone"]


def test_an_error_of_one_endpoint_is_its_own() -> None:
    """A 503 for one name must not end the wait for the others."""
    service = Namespace(["a", "b"], hidden={"a", "b"})
    service.errors["a"] = ServiceError("busy", method="GET", path="/", status=503)
    found = service.run(["a", "b"], Memory(total=500))
    assert {"b"} == names(found)
    assert isinstance(found["a"], ServiceError)


def test_a_rate_limit_is_everybodys() -> None:
    """A 429 limits the token, so that the other names are not asked for before its time."""
    service = Namespace(["a", "b"], hidden={"a", "b"})
    service.errors["a"] = RateLimitError("slow down", method="GET", path="/", status=429, retry_after=9)
    with pytest.raises(RateLimitError):
        service.run(["a", "b"], Memory(total=500))
    assert service.asked == ["a"]


def test_what_a_page_shows_besides_is_kept_for_newcomers() -> None:
    """Who begins to wait in the moment after a survey need not ask again; it is given away once, until the next one."""
    names = [f"e-{i}" for i in range(30)]
    memory = Memory()
    Namespace(names).run(["e-0", "e-1"], memory)
    other = memory.other("e-7")
    assert (other.name if other else None, memory.other("e-7"), memory.other("e-0")) == ("e-7", None, None)
    Namespace(["e-0", "e-1", "e-2"]).run(["e-0", "e-1"], memory)
    assert memory.other("e-8") is None, "what an earlier survey saw is out of date"
