"""The production Airflow and all that it uses, up in one `with`: two services, an object store, their connections."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from airflow_provider_hf_endpoints.emulator import Emulator
from dev.processes import signals_raise
from dev.production.stack import ProductionAirflow
from tests.contract.s3_server import S3
from tests.production.cases import STORE, TOKEN, Production, Row, on_store

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def production_world(s3: S3, rows: list[Row]) -> Iterator[Production]:
    """The stack, up, with its connections in the database.

    :param rows: where the lines of the table go
    """
    quirks = frozenset({"toolkit_chats"})  # the DAGs chat with endpoints of the default image
    with (
        signals_raise(),
        Emulator(token=TOKEN, namespace="acme", quirks=quirks) as service,
        Emulator(token=TOKEN, namespace="acme", quirks=quirks) as starting,
        tempfile.TemporaryDirectory(prefix="hf-endpoints-production-", ignore_cleanup_errors=True) as folder,
    ):
        Path(folder).chmod(0o711)
        shared = Path(folder) / "shared"
        shared.mkdir()
        os.environ.update(s3.environment)  # the tests write the batches' inputs
        variables = {
            "HF_ENDPOINTS_EXAMPLE_OUTPUT": on_store(s3.folder / "examples"),
            "HF_ENDPOINTS_EXAMPLE_LOOK_EVERY": "1",
            "PYTHONPATH": str(ROOT),
        }
        dags = [ROOT / "example_dags", Path(__file__).parent / "dags"]
        with ProductionAirflow(Path(folder) / "airflow", dags, variables=variables) as airflow:
            made = Production(airflow, service, starting, s3.folder, rows)
            _connect(made, on_store(s3.folder / "leases"), f"{shared}/leases")
            _connect_store(made, s3)
            yield made


def _connect(made: Production, on_s3: str, in_files: str) -> None:
    """Save the connections, as a person would."""
    for store, where in (("default", None), ("s3", on_s3), ("files", f"file://{in_files}"), ("starting", None)):
        emulator = made.starting if store == "starting" else made.service
        extra = {"lease_path": where} if where else {}
        # Either form serves a task, which knows a connection by its id (docs/production.md).
        conn_type = "hf-endpoints" if store == "files" else "hf_endpoints"
        made.airflow.api.add_connection(
            {
                "connection_id": f"hf_endpoints_{store}",
                "conn_type": conn_type,
                "host": emulator.url,
                "password": TOKEN,
                "extra": json.dumps(extra),
            }
        )


def _connect_store(made: Production, s3: S3) -> None:
    extra = {"endpoint_url": s3.environment["AWS_ENDPOINT_URL"], "region_name": "us-east-1"}
    made.airflow.api.add_connection(
        {
            "connection_id": STORE,
            "conn_type": "aws",
            "login": s3.environment["AWS_ACCESS_KEY_ID"],
            "password": s3.environment["AWS_SECRET_ACCESS_KEY"],
            "extra": json.dumps(extra),
        }
    )
