"""DAGs of the live tests whose tasks are ended by something else than their endpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from airflow.sdk import DAG, Context, Param
from airflow.triggers.base import BaseTrigger
from lingering import LingeringTrigger  # type: ignore[import-not-found,unused-ignore]

from airflow_provider_hf_endpoints.operators.endpoints import (
    CreateInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor

ENDPOINT = "{{ params.endpoint }}"
NAMESPACE = "{{ params.namespace }}"
PARAMS = {"endpoint": Param("live", type="string"), "namespace": Param("acme", type="string")}
MODEL: dict[str, Any] = {
    "name": ENDPOINT,
    "namespace": NAMESPACE,
    "repository": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "framework": "pytorch",
    "task": "text-generation",
    "vendor": "aws",
    "region": "us-east-1",
    "accelerator": "cpu",
    "instance_type": "intel-icl",
    "instance_size": "x2",
    "poll_interval": 1,
}
WAIT: dict[str, Any] = {"endpoint": ENDPOINT, "namespace": NAMESPACE, "poke_interval": 1}
AGAIN: dict[str, Any] = {"retries": 1, "retry_delay": timedelta(seconds=1)}
ONCE: dict[str, Any] = {"retries": 0}
HOLD = 6.0  # seconds in which a test ends the process


class GivenUpByAirflow(CreateInferenceEndpointOperator):
    """Airflow ends its deferral long before its trigger would."""

    def defer(
        self, *, trigger: BaseTrigger, method_name: str, kwargs: dict[str, Any] | None = None, timeout: Any = None
    ) -> NoReturn:
        """As Airflow's, with a limit of a second."""
        super().defer(trigger=trigger, method_name=method_name, kwargs=kwargs, timeout=timedelta(seconds=1))


class HoldsAfterTheAnswer(CreateInferenceEndpointOperator):
    """Its first attempt has the answer to its create, and has made nothing of it yet."""

    def _begin(self, context: Context, *arguments: Any) -> Any:
        attempt: Any = super()._begin(context, *arguments)
        starting = attempt.guard.starting

        @contextmanager
        def holding(*given: Any, **options: Any) -> Iterator[None]:
            with starting(*given, **options):
                yield
                self.log.info("holding")
                time.sleep(HOLD)

        if context["ti"].try_number == 1:
            attempt.guard.starting = holding
        return attempt


class HoldsAtTheDeferral:
    """Mixed into an operator: its first attempt is about to hand its wait over."""

    _holds = False

    def execute(self, context: Context) -> Any:
        """As the operator's."""
        self._holds = context["ti"].try_number == 1
        return super().execute(context)  # type: ignore[misc]

    def defer(self, **options: Any) -> NoReturn:
        """As Airflow's, a little later."""
        if self._holds:
            self.log.info("holding")  # type: ignore[attr-defined]
            self.hold()
        super().defer(**options)  # type: ignore[misc]
        raise AssertionError("unreachable: a deferral is raised")

    def hold(self) -> None:
        """Until it is killed."""
        time.sleep(HOLD)


class CreateHoldsAtTheDeferral(HoldsAtTheDeferral, CreateInferenceEndpointOperator):
    """Create, that is."""


class CreateHoldsUntilMarked(CreateHoldsAtTheDeferral):
    """Until a person has marked it. Its process, which hears of that at its next heartbeat, then goes on."""

    _gate = Path()

    def execute(self, context: Context) -> Any:
        """As the operator's."""
        self._gate = Path(context["params"]["gate"])
        return super().execute(context)

    def hold(self) -> None:
        """Until the file is there."""
        began = time.monotonic()
        while not self._gate.exists() and time.monotonic() - began < HOLD:
            time.sleep(0.05)


class ResumeHoldsAtTheDeferral(HoldsAtTheDeferral, ResumeInferenceEndpointOperator):
    """Resume, that is."""


class Lingering(CreateInferenceEndpointOperator):
    """Its trigger does not end with its event."""

    def defer(self, *, trigger: BaseTrigger, **options: Any) -> NoReturn:
        """As Airflow's, with the other trigger."""
        super().defer(trigger=LingeringTrigger(**trigger.serialize()[1]), **options)


with DAG("live_on_worker", schedule=None, params=PARAMS, default_args=ONCE):
    CreateInferenceEndpointOperator(task_id="create", deferrable=False, **MODEL)

with DAG("live_on_worker_again", schedule=None, params=PARAMS, default_args=ONCE):
    CreateInferenceEndpointOperator(task_id="create", deferrable=False, **AGAIN, **MODEL)

with DAG("live_after_the_answer", schedule=None, params=PARAMS, default_args=ONCE):
    HoldsAfterTheAnswer(task_id="create", deferrable=False, **AGAIN, **MODEL)

with DAG("live_at_the_deferral", schedule=None, params=PARAMS, default_args=ONCE):
    CreateHoldsAtTheDeferral(task_id="create", deferrable=True, **AGAIN, **MODEL)

GATED = {**PARAMS, "gate": Param("", type="string")}
with DAG("live_marked_at_the_deferral", schedule=None, params=GATED, default_args=ONCE):
    CreateHoldsUntilMarked(task_id="create", deferrable=True, **MODEL)

with DAG("live_resume_again", schedule=None, params=PARAMS, default_args=ONCE):
    ResumeHoldsAtTheDeferral(
        task_id="resume", endpoint=ENDPOINT, namespace=NAMESPACE, poll_interval=1, deferrable=True, **AGAIN
    )

with DAG("live_execution_timeout", schedule=None, params=PARAMS, default_args=ONCE):
    CreateInferenceEndpointOperator(task_id="create", deferrable=True, execution_timeout=timedelta(seconds=8), **MODEL)

with DAG("live_given_up", schedule=None, params=PARAMS, default_args=ONCE):
    GivenUpByAirflow(task_id="create", deferrable=True, **MODEL)

with DAG("live_lingering", schedule=None, params=PARAMS, default_args=ONCE):
    Lingering(task_id="create", deferrable=True, on_failure="none", on_kill="delete", **MODEL)

with DAG("live_wait_and_leave", schedule=None, params=PARAMS, default_args=ONCE):
    InferenceEndpointSensor(task_id="wait", timeout=5, deferrable=True, **WAIT)

with DAG("live_wait_and_pause", schedule=None, params=PARAMS, default_args=ONCE):
    InferenceEndpointSensor(
        task_id="wait", timeout=5, deferrable=True, on_timeout="pause", on_failure="delete", on_kill="delete", **WAIT
    )

with DAG("live_wait_or_pause", schedule=None, params=PARAMS, default_args=ONCE):
    InferenceEndpointSensor(task_id="wait", timeout=600, deferrable=True, on_kill="pause", on_failure="delete", **WAIT)

# A template is rendered in the triggerer from Airflow 3.3 on; before that the name has to be fixed.
renders = hasattr(BaseTrigger, "render_template_fields")
with DAG("live_begin", schedule=None, params=PARAMS, default_args=ONCE):
    InferenceEndpointSensor(
        task_id="wait",
        endpoint=ENDPOINT if renders else "begun",
        namespace=NAMESPACE if renders else "begun",
        timeout=600,
        poke_interval=1,
        start_from_trigger=True,
        on_kill="pause",
    )
