"""The page of an endpoint, for people: its state, cost, history and last requests.

It has the path of Hugging Face's own page of an endpoint, `/{namespace}/endpoints/{name}`, so that the link
of a task in Airflow opens it. Like the routes below `/_emulator/`, it needs no token, and it shows no secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote

from airflow_provider_hf_endpoints.emulator.recorded import RecordedRequest
from airflow_provider_hf_endpoints.emulator.service.record import Endpoint
from airflow_provider_hf_endpoints.emulator.service.service import Service

ROUTE = "/{namespace}/endpoints/{name}"
LAST_REQUESTS = 25

_PATH = re.compile(r"/[^/]+/endpoints/[^/]+")
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1f2328 }
h1 { margin-bottom: 0 } h2 { margin-top: 2rem; font-size: 1.1rem }
.state { display: inline-block; padding: 0 .6rem; border-radius: 1rem; background: #eaeef2; font-weight: 600 }
.running { background: #cdf3d5 } .failed { background: #ffd8d3 }
table { border-collapse: collapse; width: 100% } th { text-align: left; font-weight: 600 }
td, th { border-bottom: 1px solid #d8dee4; padding: .25rem .75rem .25rem 0; vertical-align: top }
footer { margin-top: 2rem; color: #656d76 }
"""


def is_page(path: str) -> bool:
    """Whether a path is that of an endpoint's page, which is not a request to the service."""
    return _PATH.fullmatch(path) is not None


def render(service: Service, endpoint: Endpoint, requests: Iterable[RecordedRequest]) -> str:
    """The page as HTML.

    :param requests: all answered requests; those to this endpoint are shown, newest first
    """
    meter, now = service.meter(endpoint), service.now()
    state = str(meter["state"])
    spec = endpoint.spec
    compute, model = spec["compute"], spec["model"]
    facts = [
        ("Model", f"{model['repository']} ({model['task']})" if model.get("task") else model["repository"]),
        ("Hardware", f"{compute['instanceType']} {compute['instanceSize']}, {compute['accelerator']}"),
        ("Replicas ready", str(endpoint.ready_replica(now))),
        ("Price", f"{meter['price_per_hour']:.3f} USD per hour and replica"),
        ("Cost so far", f"{meter['usd']:.4f} USD for {meter['billed_seconds']:,.0f} s"),
        ("Requests", f"{meter['requests']:,}"),
        ("Tokens", f"{meter['prompt_tokens']:,} read, {meter['completion_tokens']:,} written"),
        ("URL", service.url(endpoint)),
    ]
    if endpoint.message:
        facts.append(("Message", endpoint.message))
    moments = [
        (_clock(moment.at), moment.state, f"{end - moment.at:,.1f} s", moment.message or "")
        for moment, end in zip(endpoint.history, [each.at for each in endpoint.history[1:]] + [now], strict=True)
    ]
    places = _places(endpoint)
    mine = [each for each in requests if each.path.partition("?")[0].startswith(places)][-LAST_REQUESTS:]
    answers = [
        (_clock(each.at), each.method, each.path, str(each.status or "no answer"), f"{each.seconds:.3f} s")
        for each in reversed(mine)
    ]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">',
            f"<title>{escape(endpoint.name)}: {escape(state)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(endpoint.namespace)}/{escape(endpoint.name)}</h1>",
            f'<p><span class="state {escape(state)}">{escape(state)}</span></p>',
            _table((), facts),
            "<h2>States</h2>",
            _table(("since", "state", "for", "message"), moments),
            f"<h2>Last {LAST_REQUESTS} requests</h2>",
            _table(("at", "method", "path", "status", "took"), answers) if answers else "<p>None.</p>",
            "<footer>An emulator shows this page, which is not Hugging Face's service. Times are UTC on the emulator's "
            "clock. The page renews itself every 5 seconds.</footer></body></html>",
        ]
    )


def _places(endpoint: Endpoint) -> tuple[str, ...]:
    path = f"{quote(endpoint.namespace)}/{quote(endpoint.name)}"
    return (f"/v2/endpoint/{path}", f"/v3/endpoint/{path}", f"/endpoints/{endpoint.id}")


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = "".join(f"<th>{escape(each)}</th>" for each in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(each)}</td>" for each in row) + "</tr>" for row in rows)
    return f"<table>{f'<tr>{heads}</tr>' if heads else ''}{lines}</table>"
