"""Two hundred sensors wait in two triggerers, without a worker, and end as one triggerer is killed."""

from __future__ import annotations

import pytest

from tests.production.cases import Production, Row, Run
from tests.production.sizes import FLEET, FLEETS


@pytest.mark.extended
def test_two_hundred_sensors(production: Production) -> None:
    """All begin in the triggerers, share their looks at the endpoint, survive a killed one, and succeed."""
    name, dags = "sensors", [f"production_sensors_{number}" for number in range(FLEETS)]
    owner = production.start(name)  # the run that starts the endpoint, and pauses it when it is done
    airflow = production.airflow
    for dag in dags:
        airflow.wait_for_dag(dag)
    runs = [
        Run(production, dag, airflow.api.trigger(dag, {"endpoint": name}), name, production.starting, production.folder)
        for dag in dags
    ]

    def waiting() -> int:
        return sum(each.state == "deferred" for run in runs for each in airflow.api.tasks(run.dag, run.id))

    airflow.wait_until(lambda: waiting() == FLEETS * FLEET, "all sensors wait", limit=900.0)
    airflow.replace_component("triggerer-1")
    production.wait_for_a_look(owner)
    owner.ready()
    ends = [run.end() for run in runs]
    green = f"{ends.count('success')} of {len(ends)} DAGs green"
    production.rows.append(Row(f"{FLEETS * FLEET} sensors, SIGKILL of one triggerer", green, owner.billed_after()))
    assert ["success"] * FLEETS == ends, [
        run.messages() for run, end in zip(runs, ends, strict=True) if end == "failed"
    ]
    owner.expect_over("the run whose endpoint the sensors wait for")
