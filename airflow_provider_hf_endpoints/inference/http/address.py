"""The address of an endpoint: the user's URL, parsed and checked for every transport and client. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

# Users copy this from examples for OpenAI's client. Every route here begins after the endpoint's own URL.
_OPENAI_PART = re.compile(r"/v1(/(chat/completions|completions|embeddings|models))?/*$")

#: Characters that no host contains.
_NO_HOST = re.compile(r"[\x00-\x20\x7f\"'<>\\^`{|}*,;()!&=+$~]")


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of an endpoint's URL.

    :param authority: host and port as in the URL, for the header `host`
    :param path: before every route, without a slash at its end
    :param query: behind every route, without its question mark, such as `api-version=2024-10-21`
    """

    secure: bool
    host: str
    port: int
    authority: str
    path: str
    query: str = ""

    @classmethod
    def of(cls, url: str) -> Address:
        """The parts of `url`.

        :raises ValueError: it is not an http or https URL with a host
        """
        parts = urlsplit(endpoint_url(url))
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an http or https URL")
        try:
            host = parts.hostname.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise ValueError(f"{url!r} has no valid host name: {error}") from error
        if _NO_HOST.search(host):
            raise ValueError(f"{url!r} has no valid host name: {host!r}")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        authority = (f"[{host}]" if ":" in host else host) + (f":{parts.port}" if parts.port else "")
        return cls(parts.scheme == "https", host, port, authority, parts.path, parts.query)

    def target(self, route: str) -> str:
        """What stands in the first line of a request for a route."""
        return _joined(self.path, route, self.query)


def endpoint_url(url: str) -> str:
    """The endpoint's own URL, also if it was given in the form for OpenAI's client, with `/v1` at its end.

    A query stays: services want `?api-version=…` with every request.

    :raises ValueError: it has a fragment, which no request contains
    """
    if "#" in url:
        raise ValueError("it contains '#'. What follows is never sent, so leave it out, or write %23 for '#'")
    base, _, query = url.strip().partition("?")
    base = _OPENAI_PART.sub("", base.rstrip("/")).rstrip("/")
    return f"{base}?{query}" if query else base


def url_of(endpoint: str, route: str) -> str:
    """The URL of a route.

    :param endpoint: as `endpoint_url` returns it
    """
    base, _, query = endpoint.partition("?")
    return _joined(base, route, query)


def _joined(base: str, route: str, query: str) -> str:
    if not query:
        return base + route
    return f"{base}{route}{'&' if '?' in route else '?'}{query}"


def without_secrets(url: str) -> str:
    """The URL as a log, a manifest or an error may name it: without login, and without a query, which may be a key."""
    host, url = host_of(url), url.partition("?")[0]
    return url.replace(urlsplit(url).netloc, host, 1) if host else url


def host_of(url: str) -> str:
    """The host of a URL as a log may name it, with its port; the URL itself may have a login in it."""
    return urlsplit(url).netloc.rpartition("@")[2]


def check_headers(headers: dict[str, str]) -> None:
    """Refuse headers that cannot be sent, or that would add another header.

    :raises ValueError: a control character, or one outside Latin-1
    """
    for name, value in headers.items():
        if any(ord(c) < 32 or ord(c) == 127 for c in name + value):
            raise ValueError(f"the header {name!r} contains a control character. A token must be one line of text")
        if any(ord(c) > 255 for c in name + value):
            raise ValueError(f"the header {name!r} contains a character that headers do not allow (outside Latin-1)")
