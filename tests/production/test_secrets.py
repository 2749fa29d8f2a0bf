"""The token is nowhere in what Airflow, its database, its broker and its logs keep of all the tests here."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest

from tests.production.cases import TOKEN, Production

FORMS = {TOKEN.encode(), base64.b64encode(TOKEN.encode()).rstrip(b"="), quote(TOKEN).encode()}


@pytest.mark.parametrize("place", ["postgresql", "redis", "logs"])
def test_no_token(production: Production, place: str) -> None:
    """Not in a dump of the database (connections are encrypted there), in Redis, nor in any log of any host."""
    airflow = production.airflow
    match place:
        case "postgresql":
            kept = {"pg_dump": airflow.postgresql.dump()}
            assert b"hf_endpoints_default" in kept["pg_dump"]
        case "redis":
            kept = {"redis": airflow.redis.dump()}
            assert b"execute_workload" in kept["redis"]
        case _:
            kept = {str(file): file.read_bytes() for file in airflow.home.rglob("*.log*") if file.is_file()}
            assert any("attempt=" in name for name in kept)
    assert [] == [name for name, text in kept.items() if any(form in text for form in FORMS)]
