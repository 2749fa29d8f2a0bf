"""The link from a task to its endpoint's page, there while the task still waits.

Airflow 3 shows the URL that is in the task's XCom under `xcom_key`. It writes that XCom itself, with what `get_link`
answers, when a task ends or defers; before a wait that occupies the worker, `persist` has to.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_provider_hf_endpoints._airflow import AirflowRuntimeError, read_link
from airflow_provider_hf_endpoints.endpoints.errors import InferenceEndpointError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook

log = logging.getLogger(__name__)

UI_URL = "https://endpoints.huggingface.co"


def endpoint_page_url(base_url: str, namespace: str, name: str) -> str:
    """The endpoint's page in Hugging Face's UI; with another control plane, the same path there (the emulator has it).

    :param base_url: the control plane that the connection points to.
    """
    host = urlsplit(base_url).hostname or ""
    of_hugging_face = host == "huggingface.cloud" or host.endswith(".huggingface.cloud")
    site = UI_URL if of_hugging_face else base_url.rstrip("/")
    return f"{site}/{quote(namespace, safe='')}/endpoints/{quote(name, safe='')}"


class InferenceEndpointLink(BaseOperatorLink):
    """The button "Hugging Face endpoint" on a task."""

    name = "Hugging Face endpoint"

    @property
    def xcom_key(self) -> str:
        """Where Airflow's UI reads the URL."""
        return "hf_endpoint_link"

    @classmethod
    def persist(
        cls, context: Context, operator: Any, hook: InferenceEndpointsHook, namespace: str | None, name: str
    ) -> None:
        """Store the link now, before a wait. A failure fails no task.

        An error of the service is left to the task, which makes the same request next and reports the error.

        :param operator: the operator or sensor whose link it is.
        :param namespace: default the hook's.
        """
        try:
            client = hook.get_conn()
            url = endpoint_page_url(client.base_url, namespace or client.default_namespace(), name)
            context["ti"].xcom_push(key=cls().xcom_key, value=url)
        except InferenceEndpointError as error:
            log.debug("No link to endpoint %s: %s", name, error)
        except Exception as error:  # noqa: BLE001 - XCom may have any backend, and a link is a convenience
            log.warning("Could not store the link to endpoint %s: %s: %s", name, type(error).__name__, error)

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """What `persist` stored; empty when it stored nothing."""
        try:
            url = read_link(ti_key, self.xcom_key)
        except AirflowRuntimeError as error:
            # Airflow 3.0 asks at the end of a task, and an error here would fail one that has succeeded.
            log.warning("Could not read the link to the endpoint: %s", error)
            return ""
        return url if isinstance(url, str) else ""
