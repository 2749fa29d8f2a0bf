"""What Airflow reads of this provider at every start: a plain dict, so that nothing has to be parsed or imported.

`provider.yaml` says the same in the form that Airflow's tools read; a test holds the two equal. Airflow before 3.2
doesn't read `conn-fields` and `ui-field-behaviour`: there the hook hands out the same (`hooks/form.py`).
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

_ROOT = "airflow_provider_hf_endpoints"
_NAME = "Hugging Face Inference Endpoints"

# Fields of the connection's extra, as the form of Airflow 3.2 and later shows them.
CONN_FIELDS: dict[str, dict[str, Any]] = {
    "namespace": {
        "label": "Namespace",
        "schema": {"type": ["string", "null"]},
        "description": "User or organisation that owns the endpoints. Default: the token's user.",
    },
    "timeout": {
        "label": "Timeout (seconds)",
        "schema": {"type": ["number", "null"]},
        "description": "Time limit of one request to the control plane. Default: 30.",
    },
    "hub_url": {
        "label": "Hub URL",
        "schema": {"type": ["string", "null"]},
        "description": "Service that knows the token's owner. Default: Hugging Face, or the control plane URL.",
    },
    "catalog_url": {
        "label": "Catalog URL",
        "schema": {"type": ["string", "null"]},
        "description": "Service with the model catalog. Default: Hugging Face, or the control plane URL.",
    },
    "max_price_per_hour": {
        "label": "Price limit (USD per hour)",
        "schema": {"type": ["number", "null"]},
        "description": "Maximum price per hour of one endpoint with all its replicas. Default: no limit.",
    },
    "allowed_hardware": {
        "label": "Allowed hardware",
        "schema": {"type": ["string", "null"]},
        "description": "Comma-separated: nvidia-t4, intel-*, aws/us-east-1/nvidia-l4/x1. Default: all.",
    },
    "lease_path": {
        "label": "Lease path",
        "schema": {"type": ["string", "null"]},
        "description": "Storage for the leases of shared endpoints. Default: Airflow Variables.",
    },
}

# Fields of the extra of a connection of common-ai's to an endpoint.
CONN_FIELDS_OF_LLM: dict[str, dict[str, Any]] = {
    "endpoint": {
        "label": "Endpoint",
        "schema": {"type": ["string", "null"]},
        "description": "Name of the endpoint. Empty: tasks name it as model_id.",
    },
    "namespace": {
        "label": "Namespace",
        "schema": {"type": ["string", "null"]},
        "description": "User or organisation that owns the endpoint. Default: that of the connection below.",
    },
    "hf_endpoints_conn_id": {
        "label": "Connection of Inference Endpoints",
        "schema": {"type": ["string", "null"]},
        "description": "Connection with the token. Default: hf_endpoints_default.",
    },
    "startup_timeout": {
        "label": "Startup timeout (seconds)",
        "schema": {"type": ["number", "null"]},
        "description": "Time to wait for an endpoint that starts or is scaled to zero. Default: 900.",
    },
    "model": {
        "label": "Model",
        "schema": {"type": ["string", "null"]},
        "description": "Name of the model in requests. Default: what the endpoint says.",
    },
    "fallback_conn_ids": {
        "label": "Fallback connections",
        "schema": {"type": ["array", "null"], "items": {"type": "string"}},
        "description": "Connections of other models, if the endpoint cannot be used.",
    },
}

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "login", "port"],
    "relabeling": {"password": "Hugging Face token", "host": "Control plane URL"},
    "placeholders": {
        "password": "hf_…",
        "host": "Empty for Hugging Face: https://api.endpoints.huggingface.cloud",
    },
}

CONFIG: dict[str, Any] = {
    "hf_endpoints": {
        "description": "Settings of the provider for Hugging Face Inference Endpoints.",
        "options": {
            "min_deferral_seconds": {
                "description": (
                    "No trigger of a waiting task fires in the first seconds of the deferral. An earlier event meets a "
                    "race of Airflow's scheduler, which then fails the task (apache/airflow #71580, #72716). 0 "
                    "switches this off."
                ),
                "version_added": "0.1.0",
                "type": "float",
                "example": "10",
                "default": "5.0",
            }
        },
    }
}


def get_provider_info() -> dict[str, Any]:
    """The provider's metadata, found by Airflow through the entry point `apache_airflow_provider`."""
    return {
        "package-name": "airflow-provider-hf-endpoints",
        "name": _NAME,
        "description": (
            "Start an endpoint, wait for it without a worker, send a batch through it, and stop it, however the work "
            "ended. See `Hugging Face Inference Endpoints <https://huggingface.co/docs/inference-endpoints>`__"
        ),
        "integrations": [
            {
                "integration-name": _NAME,
                "external-doc-url": "https://huggingface.co/docs/inference-endpoints",
                "tags": ["service", "ai", "ai-inference", "llm", "text-generation", "embeddings", "machine-learning"],
            }
        ],
        "hooks": [{"integration-name": _NAME, "python-modules": [f"{_ROOT}.hooks.endpoints"]}],
        "operators": [
            {
                "integration-name": _NAME,
                "python-modules": [
                    f"{_ROOT}.operators.endpoints",
                    f"{_ROOT}.operators.inference",
                    f"{_ROOT}.operators.sweep",
                ],
            }
        ],
        "sensors": [{"integration-name": _NAME, "python-modules": [f"{_ROOT}.sensors.endpoints"]}],
        "triggers": [
            {
                "integration-name": _NAME,
                "python-modules": [f"{_ROOT}.triggers.endpoints", f"{_ROOT}.triggers.events"],
            }
        ],
        "task-decorators": [
            {"name": "hf_batch", "class-name": f"{_ROOT}.decorators.batch.hf_batch_task"},
            {"name": "hf_inference", "class-name": f"{_ROOT}.decorators.call.hf_inference_task"},
        ],
        "filesystems": [f"{_ROOT}.fs.hub"],
        "connection-types": [
            {
                "connection-type": "hf_endpoints",
                "hook-class-name": f"{_ROOT}.hooks.endpoints.InferenceEndpointsHook",
                "hook-name": _NAME,
                "ui-field-behaviour": deepcopy(UI_FIELD_BEHAVIOUR),
                "conn-fields": deepcopy(CONN_FIELDS),
            },
            {
                "connection-type": "pydanticai_hf_endpoints",
                "hook-class-name": f"{_ROOT}.common_ai.hook.PydanticAIInferenceEndpointHook",
                "hook-name": f"Pydantic AI ({_NAME})",
                "ui-field-behaviour": {"hidden-fields": ["schema", "login", "port", "password", "host"]},
                "conn-fields": deepcopy(CONN_FIELDS_OF_LLM),
            },
        ],
        "config": deepcopy(CONFIG),
        "asset-uris": [
            {
                "schemes": ["hf-endpoint"],
                "handler": f"{_ROOT}.assets.endpoints.sanitize_uri",
                "factory": f"{_ROOT}.assets.endpoints.endpoint_asset",
            }
        ],
        "extra-links": [f"{_ROOT}.links.endpoints.InferenceEndpointLink"],
    }
