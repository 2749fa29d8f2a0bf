"""The operator that finds and stops endpoints which still bill but are no longer needed.

Thin: `endpoints/upkeep/sweep.py` decides what is left over. The sweeper is the last resort if everything was killed at
once. It does not touch endpoints that a DAG or a person keeps on purpose, or that are in use.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from airflow.providers.common.compat.sdk import AirflowFailException, BaseOperator, Context

from airflow_provider_hf_endpoints._money import usd
from airflow_provider_hf_endpoints.endpoints.client import EndpointsClient
from airflow_provider_hf_endpoints.endpoints.costs import metering
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError
from airflow_provider_hf_endpoints.endpoints.models import COSTLY, InferenceEndpoint, InferenceEndpointStatus
from airflow_provider_hf_endpoints.endpoints.upkeep.release import Release, state_after
from airflow_provider_hf_endpoints.endpoints.upkeep.sweep import (
    QUIET,
    Known,
    Leave,
    Sweep,
    SweepRule,
    judge,
    judge_at_sight,
)
from airflow_provider_hf_endpoints.endpoints.upkeep.usage import are_pending
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook
from airflow_provider_hf_endpoints.kept import StoreError
from airflow_provider_hf_endpoints.leases.notes import StartNotes
from airflow_provider_hf_endpoints.leases.recent_changes import note_lately
from airflow_provider_hf_endpoints.leases.records import UNKNOWN, Lease, bills_nothing
from airflow_provider_hf_endpoints.leases.removal import forget_unheld
from airflow_provider_hf_endpoints.leases.runs import RunStates
from airflow_provider_hf_endpoints.leases.store import store_for
from airflow_provider_hf_endpoints.operators.checking.arguments import check_rendered, checked
from airflow_provider_hf_endpoints.operators.checking.kinds import is_template
from airflow_provider_hf_endpoints.operators.checking.known import KnownArguments
from airflow_provider_hf_endpoints.operators.common.errors import in_airflow_terms
from airflow_provider_hf_endpoints.ownership import creator_tags_in, was_replaced

__all__ = ["SweepInferenceEndpointsOperator"]

log = logging.getLogger(__name__)

#: The Variable in which a person keeps endpoints from being swept, by Airflow's UI: patterns of names.
KEPT_BY_VARIABLE = "{{ var.value.get('hf_endpoints_keep', '') }}"

# An endpoint that a replica of has been running since later than that was started by somebody else since.
_STARTING = timedelta(hours=1)
_YES, _NO = frozenset({"true", "yes", "1", "on"}), frozenset({"false", "no", "0", "off"})


class SweepInferenceEndpointsOperator(KnownArguments, BaseOperator):
    """Find endpoints that still bill although no run needs them, report their cost, and stop them.

    An endpoint is left over if this provider started it for a DAG run that has ended, if its last lease has expired, or
    if it matches `idle` or `older_than`. It is swept if it also had no requests for `quiet`. Never touched: endpoints
    with a live lease, endpoints that do not bill, endpoints that a person keeps (`keep`, or the tag `airflow-keep` on
    the endpoint), and, unless `names` asks for it, endpoints that a DAG keeps (`keep=True` or `release="keep"`) or that
    this provider did not start.

    :param only_report: a dry run: say what would be done, and do nothing; default True. (templated, as a text too)
    :param action: `pause` (default), `scale_to_zero` or `delete`.
    :param quiet: a timedelta (`timedelta(0)` does not ask): an endpoint is swept, for any reason, only after this time
        without requests. From `lastUsedAt` and the pending requests, from the start on. Default 15 minutes.
    :param keep: patterns of names, `["prod-*", "acme/*"]`, that are never swept, also as one text with blanks or
        commas between. Default Airflow's Variable `hf_endpoints_keep`. (templated)
    :param idle: a timedelta: no request for so long, by the service's own account.
    :param older_than: a timedelta: running for so long.
    :param names: patterns of names, `["nightly-*"]`: only those, and also those that this provider did not start.
        (templated)
    :param namespaces: default every namespace that the connection's token sees. (templated)
    :param hf_endpoints_conn_id: the connection. (templated)

    Its result is a list of `{"endpoint", "namespace", "state", "usd_per_hour", "started_for", "verdict", "reason",
    "done"}`, one for each endpoint that bills. `started_for` is "a run", "kept", or None if unknown; `done` says what
    was done, None for nothing. If an endpoint could not be stopped, the task fails after it has handled all others.
    """

    template_fields: Sequence[str] = ("only_report", "names", "keep", "namespaces", "hf_endpoints_conn_id")
    ui_color = "#ffe9a8"

    @checked
    def __init__(
        self,
        *,
        only_report: bool | str = True,
        action: Release = "pause",
        quiet: timedelta = QUIET,
        keep: Sequence[str] | str = KEPT_BY_VARIABLE,
        idle: timedelta | None = None,
        older_than: timedelta | None = None,
        names: Sequence[str] = (),
        namespaces: Sequence[str] | None = None,
        hf_endpoints_conn_id: str = InferenceEndpointsHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if action not in get_args(Release) or action == "none":
            raise ValueError(f"action={action!r} is not valid. Use 'pause', 'scale_to_zero' or 'delete'.")
        SweepRule(idle, older_than, quiet=quiet)  # a bad limit is an error when the DAG is parsed
        if not is_template(only_report) and _word(only_report) not in _YES | _NO:
            raise ValueError(f"only_report={only_report!r} is not valid. Give True or False.")
        self.only_report = only_report
        self.action = action
        self.quiet = quiet
        self.keep = keep
        self.idle = idle
        self.older_than = older_than
        self.names = names
        self.namespaces = namespaces
        self.hf_endpoints_conn_id = hf_endpoints_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Look at every endpoint that bills. Stop those that are left over, unless it is a dry run."""
        with in_airflow_terms():
            check_rendered(self, texts=("names", "namespaces", "keep"))  # one text names several
        dry = _truth(self.only_report)
        failed: list[str] = []
        report = []
        with in_airflow_terms(), InferenceEndpointsHook(self.hf_endpoints_conn_id) as hook:
            rule = SweepRule(self.idle, self.older_than, _patterns(self.names), _patterns(self.keep), self.quiet)
            ask = _Facts(hook, context["ti"])
            for endpoint in self._billing(hook.get_conn()):
                known = ask.known(endpoint, rule)
                verdict = judge(known, rule, datetime.now(UTC))
                if isinstance(verdict, Sweep) and rule.quiet:
                    known = replace(known, pending=ask.pending(endpoint, rule.quiet))
                    verdict = judge(known, rule, datetime.now(UTC))
                done = None
                if isinstance(verdict, Sweep) and not dry:
                    done = self._switch_off(ask, known, failed)
                report.append(_line(known, verdict, done))
        self._tell(report, dry=dry)
        if failed:
            raise AirflowFailException(
                f"Endpoints could not be released ({self.action}) and MAY STILL BE BILLING: {'; '.join(failed)}. "
                "Release them by hand."
            )
        return report

    def _billing(self, client: EndpointsClient) -> list[InferenceEndpoint]:
        found = [
            endpoint
            for namespace in (["*"] if self.namespaces is None else _patterns(self.namespaces))
            for endpoint in client.list_inference_endpoints(namespace)
        ]
        return [endpoint for endpoint in found if endpoint.status in COSTLY]

    def _switch_off(self, ask: _Facts, known: Known, failed: list[str]) -> str | None:
        """What was done. A failure is kept for the end: the other endpoints must still be stopped.

        An endpoint that was at zero is scaled to zero and not paused, so that requests still wake it.
        """
        endpoint = known.endpoint
        try:
            return ask.stop(endpoint, "scale_to_zero" if known.woken and self.action == "pause" else self.action)
        except InferenceEndpointError as error:
            failed.append(f"{endpoint.namespace}/{endpoint.name}: {error}")
            return None

    def _tell(self, report: list[dict[str, Any]], *, dry: bool) -> None:
        swept = [each for each in report if each["verdict"] == "sweep"]
        left_over = sum(each["usd_per_hour"] or 0.0 for each in swept)
        for each in report:
            price = "unknown price" if each["usd_per_hour"] is None else f"{usd(each['usd_per_hour'])}/h"
            name = f"{each['namespace']}/{each['endpoint']}"
            done = each["done"] or ("would be swept" if dry else "NOT swept") if each["verdict"] == "sweep" else "left"
            log.info("%s (%s, %s): %s, because %s", name, each["state"], price, done, each["reason"])
        log.info(
            "%d endpoint(s) bill; %d are left over, at %s an hour%s.",
            len(report),
            len(swept),
            usd(left_over),
            "; dry run, nothing was done (only_report=False releases them)" if dry and swept else "",
        )


class _Facts:
    """What is known of an endpoint, asked of the service, the leases and Airflow."""

    def __init__(self, hook: InferenceEndpointsHook, task_instance: Any) -> None:
        self._client = hook.get_conn()
        self._kept_at = hook.kept_at
        self._notes = StartNotes(hook.kept_at)
        self._runs = RunStates(task_instance, hook.kept_at)

    def known(self, endpoint: InferenceEndpoint, rule: SweepRule) -> Known:
        """The facts for the verdict. For endpoints that are left alone anyway, only few requests are made."""
        price = self._client.run(metering.price(self._client.session, endpoint))
        if judge_at_sight(endpoint, rule) is not None:
            return Known(endpoint, own=False, price_per_hour=price)
        place = (endpoint.namespace, endpoint.name)
        note, leases = self._notes.read(*place), self._leases(*place)
        about = list(leases or ())  # this endpoint, and not the one that had its name before
        if was_replaced(endpoint, note):
            note, about = None, [lease for lease in about if _is_since(lease, endpoint)]
        found = [lease.found for lease in about if lease.found != UNKNOWN]
        started = any(bills_nothing(state) for state in found)  # by one of the holders
        if not (creator_tags_in(endpoint.tags) or note or started or rule.names):
            return Known(endpoint, own=False, price_per_hour=price)
        since = self._since(endpoint)
        if note is not None and since is not None and since - datetime.fromtimestamp(note.at, UTC) > _STARTING:
            note = None  # started again since, by somebody who notes nothing
        live = [lease for lease in leases or () if lease.is_live(time.time())]
        over = self._runs.over(live)  # their release was skipped, or killed as well
        live = [lease for lease in live if lease.holder not in over]
        ended = None if note is None else self._runs.ended(note.dag_id, note.run_id)
        at_it = {run[0] for lease in live if (run := self._runs.run_of(lease)) is not None}
        if note is not None and ended is False:
            at_it.add(note.dag_id)
        crashed = [lease for lease in about if not lease.left and lease not in live]
        return Known(
            endpoint,
            own=bool(creator_tags_in(endpoint.tags) or note or started),
            started_by=None if note is None else note.who,
            keeps=note is not None and note.keep,
            started=None if note is None else datetime.fromtimestamp(note.at, UTC),
            woken=note is not None and note.woken,
            run_ended=ended,
            # Unreadable leases may be those of a current user.
            users=["unknown holder (the leases cannot be read)"] if leases is None else [lease.who for lease in live],
            paused=self._runs.paused(at_it),
            # Who found it running leaves it running, and so does who crashed.
            expired=bool(crashed) and (started or not found),
            since=since,
            price_per_hour=price,
        )

    def stop(self, endpoint: InferenceEndpoint, action: Release) -> str:
        """Switch it off, and on again where somebody has begun to use it meanwhile. What was done."""
        place = (endpoint.namespace, endpoint.name)
        done = self._client.release(endpoint.name, action, namespace=endpoint.namespace)
        note_lately(self._kept_at, *place, state_after(action, None))
        leases = self._leases(*place) or []
        live = [lease for lease in leases if lease.is_live(time.time())]
        over = self._runs.over(live)
        users = [lease.who for lease in live if lease.holder not in over]
        if not users or action == "delete":
            forget_unheld(self._kept_at, *place, leases, [lease for lease in live if lease.holder not in over])
            return done
        self._client.resume_inference_endpoint(endpoint.name, namespace=endpoint.namespace)
        note_lately(self._kept_at, *place, InferenceEndpointStatus.RUNNING)
        return f"{done}, and resumed, because {', '.join(users)} began to use it meanwhile"

    def pending(self, endpoint: InferenceEndpoint, span: timedelta) -> bool | None:
        """Whether requests are under way; None where the service does not say."""
        name, begin = endpoint.name, datetime.now(UTC) - span
        try:
            metric = self._client.get_inference_endpoint_metric(
                name, "pending-request", start=begin, namespace=endpoint.namespace
            )
        except InferenceEndpointError as error:
            log.info("Could not read the pending requests of endpoint %s: %s", name, error)
            return None
        return are_pending(metric)

    def _leases(self, namespace: str, name: str) -> list[Lease] | None:
        try:
            return store_for(self._kept_at, namespace, name).read()
        except StoreError:
            return None

    def _since(self, endpoint: InferenceEndpoint) -> datetime | None:
        try:
            replicas = self._client.list_inference_endpoint_replicas(endpoint.name, namespace=endpoint.namespace)
        except InferenceEndpointError:
            return None
        started = [each.started_at for each in replicas if each.started_at is not None and each.stopped_at is None]
        return min(started, default=None)


def _is_since(lease: Lease, endpoint: InferenceEndpoint) -> bool:
    return endpoint.created_at is None or lease.acquired >= endpoint.created_at.timestamp()


def _line(known: Known, verdict: Sweep | Leave, done: str | None) -> dict[str, Any]:
    return {
        "endpoint": known.endpoint.name,
        "namespace": known.endpoint.namespace,
        "state": known.endpoint.status,
        "usd_per_hour": known.usd_per_hour,
        "started_for": None if known.started_by is None else "kept" if known.keeps else "a run",
        "verdict": "sweep" if isinstance(verdict, Sweep) else "leave",
        "reason": verdict.reason,
        "done": done,
    }


def _patterns(keep: Sequence[str] | str) -> tuple[str, ...]:
    """A Variable is one text, and so is what a template becomes."""
    return tuple(keep.replace(",", " ").split()) if isinstance(keep, str) else tuple(keep)


def _truth(value: object) -> bool:
    """A template makes a text of it; any value that is not clearly False is a dry run."""
    return _word(value) not in _NO


def _word(value: object) -> str:
    return str(value).strip().lower()
