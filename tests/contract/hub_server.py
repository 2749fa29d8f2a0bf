"""The routes of the Hub by which `huggingface_hub` reads datasets, on a free port of this machine: listings, files in
ranges, and large files by a redirect to another host. Answers and headers as the Hub gives them."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

SHA = "0123456789abcdef0123456789abcdef01234567"
PAGE = 50  # entries of a listing


@dataclass
class Hub:
    """A Hub with datasets.

    :param files: of each dataset, by `owner/name`
    :param large: suffix of the files that are stored elsewhere, to which a redirect leads
    :param gated: datasets whose files need terms to be accepted
    :param tokens: that it knows; another one is refused, and without any it holds nothing
    :param requests: what was asked: method, path, and the token that came with it
    """

    files: dict[str, dict[str, bytes]]
    tokens: set[str]
    gated: set[str] = field(default_factory=set)
    large: str = ".parquet"
    url: str = ""
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)

    @property
    def port(self) -> str:
        """Of its address."""
        return self.url.rpartition(":")[2]

    async def answer(self, request: Request) -> Response:
        """One request."""
        token = request.headers.get("authorization")
        token = token.removeprefix("Bearer ") if token else None
        path = request.url.path
        self.requests.append((request.method, path, token))
        if path.startswith("/cdn/"):
            return self._content(request, *path.removeprefix("/cdn/").split("@", 1))
        if token is not None and token not in self.tokens:
            words = "Invalid credentials in Authorization header"
            return JSONResponse({"error": words}, 401, {"X-Error-Message": words})
        is_file = not path.startswith("/api/")
        _, owner, name, *rest = path.removeprefix("/api").strip("/").split("/")
        repository = f"{owner}/{name}"
        if repository not in self.files or token is None:
            return _refusal(401 if token is None else 404, "RepoNotFound", "Repository not found")
        if len(rest) > 1 and rest[1] not in ("main", SHA):
            return _refusal(404, "RevisionNotFound", f"Invalid rev id: {rest[1]}")
        if is_file:
            return self._resolve(request, repository, "/".join(rest[2:]))
        match rest:
            case [] | ["revision", _]:
                return JSONResponse({"id": repository, "sha": SHA, "private": True, "siblings": []})
            case ["tree", _, *inside]:
                return self._tree(request, repository, "/".join(inside))
            case ["paths-info", _]:
                wanted = parse_qs((await request.body()).decode())["paths"]
                everything = {entry["path"]: entry for entry in self._entries(repository, "", recursive=True)}
                return JSONResponse([everything[each] for each in wanted if each in everything])
            case _:
                return _refusal(404, "", "no such route")

    def _entries(self, repository: str, inside: str, *, recursive: bool) -> list[dict[str, Any]]:
        entries: dict[str, dict[str, Any]] = {}
        for path, content in self.files[repository].items():
            parents = [str(each) for each in PurePosixPath(path).parents][:-1]
            for name in [*reversed(parents), path]:
                if not name.startswith(f"{inside}/" if inside else "") or name == inside:
                    continue
                if not recursive and "/" in name.removeprefix(f"{inside}/" if inside else ""):
                    continue
                oid = hashlib.sha1(content if name == path else name.encode()).hexdigest()
                kind = "file" if name == path else "directory"
                entries[name] = {"type": kind, "oid": oid, "size": len(content) * (name == path), "path": name}
        return sorted(entries.values(), key=lambda entry: str(entry["path"]))

    def _tree(self, request: Request, repository: str, inside: str) -> Response:
        recursive = request.query_params.get("recursive", "").lower() == "true"
        entries = self._entries(repository, inside, recursive=recursive)
        if not entries:
            return _refusal(404, "EntryNotFound", f"{inside} does not exist on main")
        start = int(request.query_params.get("cursor", 0))
        headers = {}
        if len(entries) > start + PAGE:
            following = request.url.include_query_params(cursor=start + PAGE)
            headers["Link"] = f'<{following}>; rel="next"'
        return JSONResponse(entries[start : start + PAGE], headers=headers)

    def _resolve(self, request: Request, repository: str, path: str) -> Response:
        content = self.files[repository].get(path)
        if repository in self.gated:
            return _refusal(403, "GatedRepo", f"Access to dataset {repository} is restricted")
        if content is None:
            return _refusal(404, "EntryNotFound", "Entry not found")
        if not path.endswith(self.large):
            return self._content(request, repository, path)
        # Another name of this machine is another host: a client must not send it the token.
        elsewhere = f"{self.url.replace('127.0.0.1', 'localhost')}/cdn/{repository}@{path}"
        headers = {"X-Linked-Size": str(len(content)), "X-Linked-ETag": _etag(content), "X-Repo-Commit": SHA}
        return RedirectResponse(elsewhere, 302, headers)

    def _content(self, request: Request, repository: str, path: str) -> Response:
        content = self.files[repository][path]
        headers = {"ETag": _etag(content), "Accept-Ranges": "bytes", "X-Repo-Commit": SHA}
        asked = request.headers.get("range")
        if asked is None:
            return Response(content, headers=headers, media_type="application/octet-stream")
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(content)), len(content) - 1)
        if start > end:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        return Response(content[start : end + 1], 206, headers, "application/octet-stream")


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha1(content).hexdigest()}"'


def _refusal(status: int, code: str, words: str) -> Response:
    return JSONResponse({"error": words}, status, {"X-Error-Code": code, "X-Error-Message": words})


@contextmanager
def hub_server(files: dict[str, dict[str, bytes]], *tokens: str) -> Iterator[Hub]:
    """The server, as long as the block runs."""
    hub = Hub(files, set(tokens))
    app = Starlette(routes=[Route("/{path:path}", hub.answer, methods=["GET", "HEAD", "POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        hub.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield hub
        finally:
            server.should_exit = True
            thread.join(10)
