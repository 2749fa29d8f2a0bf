"""The cost report of the task that releases an endpoint: in the log, in the XCom `cost`, as metrics, and kept for sums.

A report never fails a release: if a figure cannot be measured, the task logs a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from airflow.providers.common.compat.sdk import Context

from airflow_provider_hf_endpoints.endpoints.costs import metering
from airflow_provider_hf_endpoints.endpoints.costs.cost import Cost
from airflow_provider_hf_endpoints.endpoints.errors import EndpointNotFoundError
from airflow_provider_hf_endpoints.hooks.cost_records import CostRecords
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.operators.common.metrics import send_cost
from airflow_provider_hf_endpoints.operators.common.naming import EndpointRef, may_mean

log = logging.getLogger(__name__)

COST_KEY = "cost"
# For each of a few requests: without an answer a figure is missing, and meanwhile the endpoint costs money.
_BEFORE_DELETE = 2.0  # seconds


def report_cost(endpoint: EndpointRef, context: Context) -> None:
    """Say what the endpoint has cost since the DAG run began, with the rows of its batches before this task.

    If a person clears a task of a run that has ended, the run begins again. `hook.sum_costs` adds up the costs.

    In the log, in this task's XComs under `cost`, as metrics, and where `hook.sum_costs` finds it. Called when the
    endpoint has been acted on: all of that may fail, and may take its time.
    """
    start = _start_of(context)
    if start is None:
        return
    with _only_warning(f"Could not read the cost of endpoint {endpoint.name}"):
        with InferenceEndpointsHook(endpoint.hf_endpoints_conn_id) as hook:
            cost = hook.get_inference_endpoint_cost(endpoint.name, namespace=endpoint.namespace, start=start)
        tell_cost(endpoint, context, cost)


def cost_before_delete(hook: InferenceEndpointsHook, endpoint: EndpointRef, context: Context) -> Cost | None:
    """The cost, read before the delete; None if the service does not answer at once, or if there is no endpoint.

    `tell_cost` reports the cost later. The endpoint bills in the meantime, so a service that hangs delays the delete
    by a few seconds only.
    """
    start = _start_of(context)
    if start is None:
        return None
    with _only_warning(f"Could not read the cost of endpoint {endpoint.name}"), hook.fresh_client() as client:
        client.limit(_BEFORE_DELETE)
        try:
            return client.run(metering.cost(client.session, endpoint.name, endpoint.namespace, start=start, stop=None))
        except EndpointNotFoundError:
            log.info("Endpoint %s does not exist, so the service has no cost of it to report.", endpoint.name)
    return None


def tell_cost(endpoint: EndpointRef, context: Context, cost: Cost | None) -> None:
    """As `report_cost`, of a cost that is known; None for one that is not."""
    if cost is None:
        return
    dag_run: Any = context.get("dag_run")
    with _only_warning("Could not count the rows and tokens of the batches"):
        rows, tokens = work_of(_batch_results(context, endpoint))
        cost = cost.for_work(rows=rows, tokens=tokens)
    log.info("Cost of this run: %s", cost.summary())
    with _only_warning("Could not store the cost in XCom"):
        context["ti"].xcom_push(key=COST_KEY, value=cost.as_dict())
    with _only_warning("Could not send the cost as metrics"):
        send_cost(context, cost)
    with _only_warning("Could not store the cost for sums over runs"):
        with InferenceEndpointsHook(endpoint.hf_endpoints_conn_id) as hook:
            records = CostRecords(hook.kept_at)
        records.write(str(dag_run.dag_id), str(dag_run.run_id), cost)


def _start_of(context: Context) -> datetime | None:
    start = getattr(context.get("dag_run"), "start_date", None)
    return start if isinstance(start, datetime) else None


@contextmanager
def _only_warning(what: str) -> Iterator[None]:
    """The release is done by now, and is not to be tried again for its report, whatever a storage or backend raises."""
    try:
        yield
    except Exception as error:  # noqa: BLE001
        log.warning("%s: %s: %s", what, type(error).__name__, error)


def work_of(results: Iterable[Any]) -> tuple[int, int]:
    """Rows and tokens in the results of batches; a mapped batch has a list of them."""
    rows = tokens = 0
    for report in _reports(results):
        rows += int(report.get("rows") or 0)
        tokens += int(report.get("prompt_tokens") or 0) + int(report.get("completion_tokens") or 0)
    return rows, tokens


def _reports(results: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    for result in results:
        if isinstance(result, Mapping):
            yield result
        elif isinstance(result, Iterable) and not isinstance(result, str | bytes):
            yield from (each for each in result if isinstance(each, Mapping))


def _batch_results(context: Context, endpoint: EndpointRef) -> list[Any]:
    """What the endpoint's batches before this task returned in this run.

    Of a mapped group only those of this task's own map index: each index has its own endpoint, or its own use of one.
    """
    task: Any = context["task"]
    ti: Any = context["ti"]
    use, mapped = _use_of(task), _mapped_group(task)
    before = (each for each in task.get_flat_relatives(upstream=True) if _is_batch(each))
    of_use = (each for each in before if _is_of(each, use, mapped))
    batches = [each.task_id for each in of_use if may_mean(each, endpoint.name, endpoint.namespace)]
    if not batches:
        return []
    own = {} if mapped is None else {"map_indexes": ti.map_index}
    pulled = ti.xcom_pull(task_ids=batches, **own)
    return list(pulled) if isinstance(pulled, Iterable) else []


def _is_of(batch: Any, use: str | None, mapped: str | None) -> bool:
    """Whether a batch is work of that use: it takes the use's endpoint, or the use is its nearest one.

    :param mapped: the mapped group of the task that ends the use. One that is mapped inside of the use belongs to it.
    """
    taken = {_use_of(each) for each in batch.upstream_list if getattr(each, "acquired", None) is not None}
    if use not in (taken or {_use_of(batch)}):
        return False
    return _mapped_group(batch) == mapped or (mapped is None and use is not None)


def _use_of(task: Any) -> str | None:
    """The id of the nearest group around a task that itself ends the use of an endpoint; None without such a group."""
    group = task.task_group
    while group is not None and not any(_ends_use(child) for child in group.children.values()):
        group = group.parent_group
    return None if group is None else group.group_id


def _mapped_group(task: Any) -> str | None:
    """The id of the nearest mapped group around a task; None without such a group."""
    return next((group.group_id for group in task.iter_mapped_task_groups()), None)


def _ends_use(child: Any) -> bool:
    return bool(getattr(getattr(child, "operator_class", None), "ends_use", False))


def _is_batch(task: Any) -> bool:
    return bool(getattr(task.operator_class, "reports_rows", False))
