"""What the emulator tells: lists, logs, replicas, metrics, hardware, whoami and the catalog."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from airflow_provider_hf_endpoints.emulator import Emulator
from tests.contract.emulator_play import Play, client, with_tokens


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with with_tokens() as running:
        yield running


# ------------------------------------------------------------------------------------------- lists


def listed(play: Play, **query: Any) -> dict[str, Any]:
    response = play.http.get(play.base, params=query)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def names(play: Play, **query: Any) -> list[str]:
    return [item["name"] for item in listed(play, **query)["items"]]


def test_a_page_holds_twenty(play: Play) -> None:
    """45 endpoints are three pages; nextCursor is null at the end; totalItems ignores the page; cursors lead back."""
    for number in range(45):
        play.create(f"e{number:02d}")
    pages, cursor = [], None
    while True:
        page = listed(play, **({"cursor": cursor} if cursor else {}))
        pages.append(page)
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert [len(page["items"]) for page in pages] == [20, 20, 5]
    assert {45} == {page["totalItems"] for page in pages}
    found = [item["name"] for page in pages for item in page["items"]]
    assert [f"e{number:02d}" for number in reversed(range(45))] == found
    assert [page["prevCursor"] and True for page in pages] == [None, True, True]
    assert pages[0]["items"][0]["name"] == listed(play, cursor=pages[1]["prevCursor"])["items"][0]["name"]
    assert [len(listed(play, limit=7)["items"]), len(listed(play, limit=100)["items"])] == [7, 45]


def test_list_filters_and_order(play: Play) -> None:
    """tags, type, task and state take several, comma-separated; search is part of a name; sorted three ways."""
    play.running("alpha", tags=["x"], type="public")
    play.running("beta", tags=["y"], model={"task": "summarization"})
    play.running("gamma", tags=["x", "z"], type="private")
    play.post("pause", "beta")
    assert names(play) == ["gamma", "beta", "alpha"]
    assert names(play, tags="x") == ["gamma", "alpha"]
    assert names(play, tags="y,z") == ["gamma", "beta"]
    assert names(play, type="public,private") == ["gamma", "alpha"]
    assert names(play, task="summarization,translation") == ["beta"]
    assert names(play, state="paused") == ["beta"]
    assert names(play, state="running,pending") == ["gamma", "alpha"]
    assert names(play, state="running") == ["gamma", "alpha"]
    assert names(play, search="et") == ["beta"]
    assert names(play, sortBy="name", direction="asc") == ["alpha", "beta", "gamma"]
    assert names(play, sortBy="createdAt", direction="asc") == ["alpha", "beta", "gamma"]
    play.put({"tags": ["new"]}, "alpha")
    assert names(play, sortBy="updatedAt")[0] == "alpha"
    assert listed(play, state="paused")["totalItems"] == 1
    assert names(play, state="updating") == []


@pytest.mark.parametrize("query", [{"limit": "x"}, {"limit": "-1"}, {"cursor": "?"}, {"sortBy": "price"}], ids=str)
def test_a_query_that_makes_no_sense(play: Play, query: dict[str, str]) -> None:
    assert play.http.get(play.base, params=query).status_code == 400


# ------------------------------------------------------------------------------------------- logs, replicas, metrics


def log_lines(play: Play, **query: Any) -> tuple[list[str], httpx.Response]:
    response = play.http.get("/v3/endpoint/acme/demo/logs", params=query)
    return [entry["line"] for entry in response.json()], response


def test_logs(play: Play) -> None:
    """v2 is text with a tail; v3 is JSON, ascending, newest page first, paged by the Link header; kept while paused."""
    play.emulator.behave("demo", logs=tuple(f"line {n}" for n in range(30)))
    play.running()
    play.post("pause")
    text = play.http.get(f"{play.base}/demo/logs", params={"tail": 2, "line_max_length": 5})
    assert text.headers["content-type"].startswith("text/plain")
    assert text.text.splitlines() == ["line ", "Model"]
    everything, _ = log_lines(play)
    assert everything.index("line 0") < everything.index("line 29")
    newest, first = log_lines(play, limit=20)
    assert everything[-20:] == newest
    older = play.http.get(first.links["next"]["url"])
    assert everything[:-20] == [entry["line"] for entry in older.json()]
    assert "next" not in older.links
    oldest, first = log_lines(play, limit=20, order="asc")
    assert everything[:20] == oldest
    rest = play.http.get(first.links["next"]["url"])
    assert everything[20:] == [entry["line"] for entry in rest.json()]
    assert log_lines(play, search="line 7")[0] == ["line 7"]
    assert log_lines(play, level="error")[0] == []
    assert log_lines(play, since="2099-01-01T00:00:00Z")[0] == []
    assert everything == log_lines(play, until="2099-01-01T00:00:00Z")[0]
    assert log_lines_status(play, since="yesterday") == 400


def log_lines_status(play: Play, **query: Any) -> int:
    return play.http.get("/v3/endpoint/acme/demo/logs", params=query).status_code


def test_followed_logs(play: Play) -> None:
    """A followed log continues with the lines that are written while it is read."""
    play.emulator.behave("demo", initializing_seconds=0.3)
    play.create()
    with play.http.stream("GET", f"{play.base}/demo/logs", params={"follow": "true"}) as response:
        assert any("listening" in line for line in response.iter_lines())


def test_no_log_search() -> None:
    """A deployment without log search answers 501 on v3, and v2 serves."""
    with Emulator(namespace="acme", log_search=False) as emulator:
        play = Play(emulator)
        play.running()
        assert log_lines_status(play) == 501
        assert play.http.get(f"{play.base}/demo/logs").status_code == 200


def test_replicas(play: Play) -> None:
    """Replicas come with their stage; those that ended stay listed as stopped."""
    play.running(scaling={"minReplica": 2, "maxReplica": 2, "scaleToZeroTimeout": None})
    items = play.http.get(f"{play.base}/demo/replica").json()["items"]
    assert [item["status"]["stage"] for item in items] == ["running", "running"]
    play.post("pause")
    items = play.http.get(f"{play.base}/demo/replica").json()["items"]
    assert [item["status"]["stage"] for item in items] == ["stopped", "stopped"]
    assert all(item["status"]["stoppedAt"] for item in items)


def test_metrics(play: Play) -> None:
    """Running replicas and pending requests over a window of time."""
    play.running()
    window = {"start": "2020-01-01T00:00:00Z", "stop": "2099-01-01T00:00:00Z"}
    graph = play.post("metrics/replica-running", json=window).json()
    assert graph["series"][0]["max"] == 1
    assert [line["status"] for line in play.post("metrics/pending-request", json=window).json()["series"]] == [
        "pending"
    ]
    assert play.post("metrics/replica-running", json={"start": "x"}).status_code == 422
    backwards = {"start": window["stop"], "stop": window["start"]}
    assert play.post("metrics/pending-request", json=backwards).status_code == 400


# ------------------------------------------------------------------------------------------- hardware, whoami, catalog


PRICES = {
    "aws-us-east-1-intel-spr-x1": 0.033, "aws-us-east-1-intel-spr-x2": 0.067, "aws-us-east-1-intel-spr-x4": 0.134,
    "aws-us-east-1-intel-spr-x8": 0.268, "aws-us-east-1-nvidia-t4-x1": 0.5, "aws-us-east-1-nvidia-t4-x4": 3,
    "aws-us-east-1-nvidia-l4-x1": 0.8, "aws-us-east-1-nvidia-l4-x4": 3.8, "aws-us-east-1-nvidia-a10g-x1": 1,
    "aws-us-east-1-nvidia-a10g-x4": 5, "aws-us-east-1-nvidia-l40s-x1": 1.8, "aws-us-east-1-nvidia-l40s-x4": 8.3,
    "aws-us-east-1-nvidia-l40s-x8": 23.5, "aws-us-east-1-nvidia-a100-x1": 2.5, "aws-us-east-1-nvidia-a100-x2": 5,
    "aws-us-east-1-nvidia-a100-x4": 10, "aws-us-east-1-nvidia-a100-x8": 20, "aws-us-east-1-nvidia-h200-x1": 5,
    "aws-us-east-1-nvidia-h200-x2": 10, "aws-us-east-1-nvidia-h200-x4": 20, "aws-us-east-1-nvidia-h200-x8": 40,
    "gcp-us-east4-nvidia-l4-x1": 0.7, "gcp-us-east4-nvidia-l4-x4": 3.8, "gcp-us-east4-nvidia-a100-x1": 3.6,
    "gcp-us-east4-nvidia-a100-x4": 14.4, "gcp-us-east4-nvidia-h100-x1": 10, "gcp-us-east4-nvidia-h100-x4": 40,
}  # fmt: skip


def computes(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    regions = [region for vendor in body["vendors"] for region in vendor["regions"]]
    return {compute["id"]: compute for region in regions for compute in region["computes"]}


def test_price_list(emulator: Emulator) -> None:
    """The price list is public, has the service's prices, several regions, and hardware in every availability."""
    listed = computes(client(emulator, "").get("/v2/provider").json())
    assert {name: listed[name]["pricePerHour"] for name in PRICES} == PRICES
    assert {"aws-us-east-1-intel-icl-x2", "aws-us-east-1-intel-icl-x4", "aws-eu-west-1-nvidia-t4-x1"} <= set(listed)
    assert {"available", "low_availability", "not_available"} == {row["status"] for row in listed.values()}


def test_quota_in_the_price_list(play: Play) -> None:
    """A namespace's own price list has its quota: what running endpoints hold, not what paused ones do."""
    assert client(play.emulator, "").get("/v2/provider/acme").status_code == 401
    play.emulator.set_quota("intel-icl", 16)
    play.running(scaling={"minReplica": 1, "maxReplica": 3})
    row = computes(play.http.get("/v2/provider/acme").json())["aws-us-east-1-intel-icl-x4"]
    assert row["quota"] == {"maxAccelerators": 16, "usedAccelerators": 6}
    vendors = play.http.get("/v2/provider/quotas/acme").json()["vendors"]
    lines = {line["instanceType"]: line for vendor in vendors if vendor["name"] == "aws" for line in vendor["quotas"]}
    assert (lines["intel-icl"]["maxAccelerators"], lines["intel-icl"]["usedAccelerators"]) == (16, 6)
    play.post("pause")
    row = computes(play.http.get("/v2/provider/acme").json())["aws-us-east-1-intel-icl-x4"]
    assert row["quota"]["usedAccelerators"] == 0


def test_whoami(emulator: Emulator) -> None:
    """The token's user, organisations and scopes."""
    me = client(emulator).get("/api/whoami-v2").json()
    assert (me["type"], me["name"], me["canPay"]) == ("user", "acme", True)
    assert me["auth"]["accessToken"]["role"] == "write"
    access = client(emulator, "hf_read").get("/api/whoami-v2").json()["auth"]["accessToken"]
    assert access["role"] == "fineGrained"
    scoped = {entry["entity"]["name"]: entry["permissions"] for entry in access["fineGrained"]["scoped"]}
    assert scoped["acme"] == ["inference.endpoints.read"]


def test_catalog(play: Play) -> None:
    """The catalog lists models with recipes, filtered; a model or a recipe can be deployed, and runs."""
    base = "/api/v1/catalog"
    items = play.http.get(f"{base}/list").json()["items"]
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in [item["repoId"] for item in items]
    tei = play.http.get(f"{base}/list", params={"engine": "tei"}).json()["items"]
    assert [item["repoId"] for item in tei] == ["BAAI/bge-base-en-v1.5"]
    assert len(play.http.get(f"{base}/list", params={"limit": 1}).json()["items"]) == 1
    recipes = {recipe["publicId"]: recipe for item in items for recipe in item["recipes"]}
    for recipe_id in recipes:
        config = {"name": recipe_id[-10:].strip("-")}
        deployed = play.http.post(f"{base}/recipe/{recipe_id}/deploy", json={"namespace": "acme", "config": config})
        assert deployed.status_code == 200, deployed.text
        assert config["name"] == deployed.json()["endpoint"]["name"]
    repo = "HuggingFaceTB/SmolLM2-135M-Instruct"
    body = {"namespace": "acme", "ggufFile": "SmolLM2-135M-Instruct.Q8_0.gguf"}
    endpoint = play.http.post(f"{base}/model/{repo}/deploy", json=body).json()["endpoint"]
    assert endpoint["compute"]["instanceSize"] == "x4"
    assert endpoint["model"]["fromCatalog"] is True
    play.until("running", endpoint["name"])
    assert play.http.post(f"{base}/model/no/such/deploy", json={"namespace": "acme"}).status_code == 404
    assert play.http.post(f"{base}/recipe/none/deploy", json={"namespace": "acme"}).status_code == 404
    assert play.http.post(f"{base}/recipe/none/deploy", json={}).status_code == 422
    assert client(play.emulator, "").post(f"{base}/recipe/none/deploy", json={"namespace": "acme"}).status_code == 401
