"""The connection's form: the same in Airflow's old way of asking a hook and in the provider's metadata."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from airflow_provider_hf_endpoints.get_provider_info import CONN_FIELDS, get_provider_info
from airflow_provider_hf_endpoints.hooks.connection import EXTRA_FIELDS
from airflow_provider_hf_endpoints.hooks.endpoints import InferenceEndpointsHook


class Field:
    """Stands in for a form field of wtforms, which neither Airflow 3 nor the hook needs."""

    def __init__(self, label: str, *, validators: list[object], description: str) -> None:
        self.label = label
        self.optional = any(isinstance(each, Optional) for each in validators)
        self.description = description


class StringField(Field):
    pass


class Optional:
    pass


@pytest.fixture
def wtforms(monkeypatch: pytest.MonkeyPatch) -> None:
    package, validators = ModuleType("wtforms"), ModuleType("wtforms.validators")
    vars(package).update(StringField=StringField, validators=validators)
    vars(validators).update(Optional=Optional)
    monkeypatch.setitem(sys.modules, "wtforms", package)
    monkeypatch.setitem(sys.modules, "wtforms.validators", validators)


def connection_type() -> dict[str, Any]:
    types = get_provider_info()["connection-types"]
    [entry] = [each for each in types if each["connection-type"] == InferenceEndpointsHook.conn_type]
    return dict(entry)


def test_the_fields_are_those_that_the_hook_reads() -> None:
    """The form asks for every field of the extra that means something, and for no other."""
    assert list(connection_type()["conn-fields"]) == list(EXTRA_FIELDS)


def test_the_old_form_has_the_same_fields(wtforms: None) -> None:
    """Airflow 3.0 and 3.1 show the same labels and descriptions, and let every field be empty."""
    widgets = InferenceEndpointsHook.get_connection_form_widgets()
    assert {name: (field["label"], field["description"], True) for name, field in CONN_FIELDS.items()} == {
        name: (widget.label, widget.description, widget.optional) for name, widget in widgets.items()
    }
    assert all(isinstance(widget, StringField) for widget in widgets.values())


def test_without_the_form_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where wtforms is not installed, Airflow gets the ImportError of that name, which it takes as "no widgets"."""
    monkeypatch.setitem(sys.modules, "wtforms", None)
    with pytest.raises(ImportError) as caught:
        InferenceEndpointsHook.get_connection_form_widgets()
    assert caught.value.name == "wtforms"


def test_the_old_form_names_and_hides_the_same() -> None:
    """The token and the control plane are called what they are, and what plays no part is hidden."""
    behaviour = InferenceEndpointsHook.get_ui_field_behaviour()
    assert behaviour == {key.replace("-", "_"): value for key, value in connection_type()["ui-field-behaviour"].items()}
    assert behaviour["relabeling"] == {"password": "Hugging Face token", "host": "Control plane URL"}
    assert set(behaviour["hidden_fields"]) == {"schema", "login", "port"}


def test_who_changes_the_answer_changes_nothing() -> None:
    """Airflow rewrites parts of what it is handed: every call hands out a copy."""
    InferenceEndpointsHook.get_ui_field_behaviour()["relabeling"].clear()
    connection_type()["conn-fields"].clear()
    assert InferenceEndpointsHook.get_ui_field_behaviour()["relabeling"]
    assert connection_type()["conn-fields"]
