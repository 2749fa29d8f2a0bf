"""The asset event of an operator: an event of the asset `hf-endpoint://namespace/name`.

The event goes through an alias in the operator's outlets, for two reasons. The endpoint's name may be known only when
the task runs. And an asset that the operator lists itself could clash with a user's asset with the same URI and another
name; Airflow fails tasks for such a clash. If the user lists the asset, only the user's asset gets the event.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from airflow.providers.common.compat.sdk import Context
from airflow.sdk import Asset, AssetAlias

from airflow_provider_hf_endpoints._airflow import is_asset
from airflow_provider_hf_endpoints.assets.endpoints import ALIAS, endpoint_asset

log = logging.getLogger(__name__)


def with_alias(outlets: Iterable[Any]) -> list[Any]:
    """The outlets of an operator that announces endpoints."""
    return [*outlets, AssetAlias(ALIAS)]


def announce(
    context: Context, outlets: Iterable[Any], namespace: str | None, name: str | None, extra: Mapping[str, Any]
) -> None:
    """Have Airflow record the event when the task succeeds. A failure to record it is logged and fails no task.

    :param extra: flat and JSON-native: Airflow 3.0 takes no lists or dicts here.
    """
    events = context.get("outlet_events")
    if events is None:  # a context made by hand, in a test of a DAG
        return
    try:
        asset = endpoint_asset(namespace or "", name or "")
        listed = [each for each in outlets if is_asset(each, asset.uri)]
        for each in listed:
            events[each].extra.update(extra)
        if not listed:
            events[AssetAlias(ALIAS)].add(asset, extra=dict(extra))
    except Exception as error:  # noqa: BLE001 - an event is not a reason to release what has arrived
        log.warning("Could not emit the asset event of endpoint %s: %s: %s", name, type(error).__name__, error)


def describe(context: Context, outlets: Iterable[Any], uri: str, extra: Mapping[str, Any]) -> None:
    """Put `extra` into the event of the asset at `uri`, where the user lists it among the outlets."""
    events = context.get("outlet_events")
    if events is not None:
        for each in outlets:
            if isinstance(each, Asset) and is_asset(each, uri):
                events[each].extra.update(extra)
