"""The emulator's settings: what is refused, and what an endpoint's own variables change."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_hf_endpoints.emulator import Behaviour, Emulator, Fault, Settings, Token
from airflow_provider_hf_endpoints.emulator.settings import changed, with_env


@pytest.mark.parametrize(
    "arguments",
    [{"seconds_per_minute": 0}, {"engine": "warp"}, {"speed": 1}, {"latency_seconds": "slow"}, {"slots": [1]}],
    ids=str,
)
def test_what_an_emulator_refuses(arguments: dict[str, Any]) -> None:
    """A misspelt or senseless setting is an error at once, not an emulator that behaves otherwise."""
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Emulator(**arguments)


def test_settings_of_both_kinds() -> None:
    """Fields of Settings and of Behaviour are given side by side."""
    made = Emulator(namespace="acme", latency_seconds=0.5, settings=Settings(token="hf_t", quota=3)).settings
    assert (made.namespace, made.token, made.quota, made.behaviour.latency_seconds) == ("acme", "hf_t", 3, 0.5)


def test_variables_of_the_endpoint() -> None:
    """EMULATOR_* variables change numbers and texts; a value that is not a number, or is negative, changes nothing."""
    env = {
        "EMULATOR_FAIL": "no",
        "EMULATOR_FAIL_STARTS": "2",
        "EMULATOR_LOADING_SECONDS": "1.5",
        "EMULATOR_SLOTS": "many",
        "EMULATOR_LATENCY_SECONDS": "-1",
        "EMULATOR_PENDING_SECONDS": "nan",
        "OTHER": "5",
    }
    assert with_env(Behaviour(), env) == Behaviour(fail="no", fail_starts=2, loading_seconds=1.5)


def test_changes_are_checked() -> None:
    assert changed(Behaviour(fail="no"), {"fail": None, "logs": ["a"]}) == Behaviour(logs=("a",))
    with pytest.raises(ValueError, match="charm"):
        changed(Behaviour(), {"charm": 1})


def test_tokens_are_not_shown() -> None:
    """A token's value is not in its text; unknown permissions are refused."""
    assert "hf_secret" not in repr(Token("hf_secret"))
    with pytest.raises(ValueError, match="fly"):
        Token("hf_x", frozenset({"fly"}))


@pytest.mark.parametrize("fault", [{"path": "("}, {"kind": "explode"}, {"status": 99}, {"rate": 2}], ids=str)
def test_faults_are_checked(fault: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fault))):
        Fault(**fault)
