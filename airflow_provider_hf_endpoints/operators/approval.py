"""A person's approval before expensive hardware is started, by Airflow's human in the loop (Airflow 3.1 and later).

In a separate module, because its import fails on Airflow 3.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.providers.common.compat.sdk import Context
from airflow.providers.standard.operators.hitl import ApprovalOperator

from airflow_provider_hf_endpoints._money import usd
from airflow_provider_hf_endpoints.endpoints.upkeep.hardware import check_choices, choose, describe
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.operators.checking.arguments import checked
from airflow_provider_hf_endpoints.operators.checking.known import KnownArguments
from airflow_provider_hf_endpoints.operators.common.errors import in_airflow_terms

__all__ = ["ApproveHardwareOperator"]


class ApproveHardwareOperator(KnownArguments, ApprovalOperator):
    """Ask a person for approval if an endpoint may cost more than `price_above` an hour; otherwise continue at once.

    Put it before what creates or resumes the endpoint: `approve >> create`. Nothing runs, and nothing bills, while the
    question is open. Without an approval the tasks after it are skipped, or fail with `fail_on_reject=True`.

    :param hardware: the choices, as `CreateInferenceEndpointOperator(hardware=…)` takes them; the most expensive one
        counts. (templated)
    :param price_above: USD per hour of the endpoint, with all its replicas, up to which no approval is needed.
    :param max_replica: replicas that it may scale to; default 1. (templated)
    :param hf_endpoints_conn_id: the connection. (templated)

    Other parameters, such as `response_timeout` (a timedelta; default no limit), `defaults`, `notifiers` and
    `assigned_users`: see Airflow's `ApprovalOperator`.
    Raises `AirflowFailException` for hardware that the service does not offer.
    """

    template_fields: Sequence[str] = (
        *ApprovalOperator.template_fields,
        "hardware",
        "max_replica",
        "hf_endpoints_conn_id",
    )

    @checked
    def __init__(
        self,
        *,
        hardware: Sequence[str] | str,
        price_above: float,
        max_replica: int | str = 1,
        hf_endpoints_conn_id: str = InferenceEndpointsHook.default_conn_name,
        subject: str = "May this endpoint be started?",
        **kwargs: Any,
    ) -> None:
        super().__init__(subject=subject, **kwargs)
        if not 0 <= price_above < float("inf"):
            raise ValueError(f"price_above={price_above!r} is not valid. Give a number of USD per hour.")
        self.hardware = hardware
        self.price_above = price_above
        self.max_replica = max_replica
        self.hf_endpoints_conn_id = hf_endpoints_conn_id

    def execute(self, context: Context) -> Any:
        """Look the prices up; ask where that is needed."""
        with in_airflow_terms():
            paths = check_choices(self.hardware)
            with InferenceEndpointsHook(self.hf_endpoints_conn_id) as hook:
                offered = hook.list_inference_endpoints_hardware(with_quota=False)
            choices = choose(paths, offered, "price")
        replicas = max(1, int(self.max_replica))
        prices = [each.price_per_hour for each in choices]
        unknown = any(price is None for price in prices)
        most = max((price * replicas for price in prices if price is not None), default=0.0)
        listed = "\n".join(f"* {describe(each)}" for each in choices)
        if not unknown and most <= self.price_above:
            self.log.info("The price is at most %s an hour, so no approval is needed:\n%s", usd(most), listed)
            return None
        price = "at an unknown price" if unknown else f"for up to {usd(most)} an hour"
        question = (
            f"An endpoint with up to {replicas} replica(s), {price}. Approval is needed above "
            f"{usd(self.price_above)}.\n\n{listed}"
        )
        self.body = f"{self.body}\n\n{question}" if self.body else question
        return super().execute(context)
