"""A look at many endpoints of one namespace, in as few requests as they can be had: single GETs or list pages.

A flow, as in `flows.py`: it yields requests and knows no client. An endpoint that a list does not show is asked for by
name before it is called gone, because pages shift while endpoints come and go.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_provider_hf_endpoints.endpoints.api import requests
from airflow_provider_hf_endpoints.endpoints.api.flows import (
    Flow,
    Pause,
    Session,
    endpoint_of,
    page_of,
    resolve_namespace,
)
from airflow_provider_hf_endpoints.endpoints.api.requests import Request
from airflow_provider_hf_endpoints.endpoints.errors import (
    ApiError,
    AuthenticationError,
    EndpointNotFoundError,
    RateLimitError,
)
from airflow_provider_hf_endpoints.endpoints.models import InferenceEndpoint

PAGE_SIZE = 100  # items; the service's own default is 20
_MOST_OTHERS = 2000  # items that are kept for newcomers
_BREATH = 20  # items read before the event loop gets its turn

# An endpoint, None if it does not exist, or the error of the request.
Found = InferenceEndpoint | None | ApiError


@dataclass
class Memory:
    """What the last survey learned of the namespace.

    :param total: how many endpoints it holds, None before the first page.
    :param asked: how many requests it took, or until one of them failed.
    :param page_size: how many items a page really has: the service may give fewer than it is asked for.
    :param others: other endpoints on its pages, unchanged, read at `others_at`. A wait that begins now may use
        them.
    """

    total: int | None = None
    asked: int = 0
    page_size: int = PAGE_SIZE
    others: dict[str, Any] = field(default_factory=dict, repr=False)
    others_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _page: tuple[str, Request] | None = field(default=None, repr=False)  # of which namespace, by which request

    def start(self, now: datetime) -> None:
        """A new survey begins: what the last one saw besides is out of date."""
        self.others.clear()
        self.others_at = now
        self.asked = 0

    def keep(self, item: dict[str, Any], namespace: str, request: Request) -> None:
        """Note `item`, which no wait asked for."""
        if len(self.others) < _MOST_OTHERS and isinstance(item.get("name"), str):
            self.others[item["name"]] = item
            self._page = namespace, request

    def other(self, name: str) -> InferenceEndpoint | None:
        """What the last survey saw of `name` without being asked for it, if anything. Returned once."""
        item = self.others.pop(name, None)
        if item is None or self._page is None:
            return None
        try:
            return endpoint_of(item, *self._page)
        except ApiError:
            return None

    def pages_after(self, seen: int) -> int:
        """How many more pages a list has of which `seen` items are there; one, as long as nothing is known."""
        return 1 if self.total is None else max(1, math.ceil((self.total - seen) / self.page_size))


def survey(session: Session, namespace: str | None, names: Collection[str], memory: Memory) -> Flow[dict[str, Found]]:
    """The endpoints of these names. An error for one of them is its own; an error of a list page is everybody's.

    Before every page it is weighed again whether the pages that are left are fewer requests than the names that are.
    """
    chosen = yield from resolve_namespace(session, namespace)
    found: dict[str, Found] = {}
    missing = set(names)
    cursor: str | None = None
    seen = 0
    memory.start(session.now())
    while len(missing) > memory.pages_after(seen):
        request = requests.list_page(chosen, cursor=cursor, limit=PAGE_SIZE, once=True)
        memory.asked += 1
        answer = yield request
        page = page_of(answer, request)
        for count, item in enumerate(page.items, 1):
            if item.get("name") in missing:
                endpoint = endpoint_of(item, chosen, request)
                found[endpoint.name] = endpoint
                missing.discard(endpoint.name)
            elif item.get("name") not in found:
                memory.keep(item, chosen, request)
            if count % _BREATH == 0:
                yield Pause(0)
        seen += len(page.items)
        memory.total = max(page.total_items, seen)
        cursor = page.next_cursor
        if not cursor or not page.items:
            break
        memory.page_size = len(page.items)
    for name in sorted(missing):
        memory.asked += 1
        found[name] = yield from _single(chosen, name)
    return found


def _single(namespace: str, name: str) -> Flow[Found]:
    request = requests.get(namespace, name, once=True)
    try:
        answer = yield request
        return endpoint_of(answer.data, namespace, request)
    except EndpointNotFoundError:
        return None
    except (AuthenticationError, RateLimitError):
        raise  # the token is everybody's, and so is its limit
    except ApiError as error:
        return error
