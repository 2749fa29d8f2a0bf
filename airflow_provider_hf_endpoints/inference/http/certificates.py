"""Whose certificates are trusted, for every client of an endpoint. Reading them takes 30 ms of CPU and more."""

from __future__ import annotations

import os
import ssl

import certifi


def default_ssl_context() -> ssl.SSLContext:
    """What httpx trusts: `SSL_CERT_FILE`, else `SSL_CERT_DIR`, else certifi.

    httpx is not asked: its import takes as long as some thousand rows.
    """
    file, folder = (os.environ.get(name) or None for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    if file is None and folder is None:
        file = certifi.where()
    return ssl.create_default_context(cafile=file, capath=folder if file is None else None)


def verify_for(url: str) -> ssl.SSLContext | bool:
    """httpx's `verify` for a client of one URL, which follows no redirect. `http://` needs no certificates.

    httpx looks after an `https://` proxy with its own context.
    """
    return default_ssl_context() if url.lower().startswith("https:") else False
