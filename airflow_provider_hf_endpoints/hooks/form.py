"""The connection's form for Airflow before 3.2, made from what later versions read in the provider's metadata."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from airflow_provider_hf_endpoints.get_provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR


def ui_field_behaviour() -> dict[str, Any]:
    """`ui-field-behaviour` in the spelling of the hook method."""
    return {key.replace("-", "_"): deepcopy(value) for key, value in UI_FIELD_BEHAVIOUR.items()}


def connection_form_widgets() -> dict[str, Any]:
    """`conn-fields` as form fields.

    Raises `ImportError` where wtforms is not installed, which Airflow expects: it then shows its plain form.
    """
    from wtforms import StringField  # type: ignore[import-untyped]
    from wtforms.validators import Optional  # type: ignore[import-untyped]

    # Numbers, too: Airflow takes a whole number or a text there, and a price has cents.
    return {
        name: StringField(field["label"], validators=[Optional()], description=field["description"])
        for name, field in CONN_FIELDS.items()
    }
