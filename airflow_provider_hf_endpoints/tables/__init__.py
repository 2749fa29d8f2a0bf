"""Tables of a database as input and output of a batch, through the hooks of Airflow's connections. How rows are sent is
in `inference/`; no driver is here, and no package of a database is imported before a task uses one.

The public names are those below.
"""

from __future__ import annotations

from airflow_provider_hf_endpoints.tables.sql_rows import SqlRows
from airflow_provider_hf_endpoints.tables.sql_table import SqlTable

__all__ = ["SqlRows", "SqlTable"]
