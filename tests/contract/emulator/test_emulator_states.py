"""The emulator's endpoints go through the service's states, each transition as the service makes it."""

from __future__ import annotations

import pytest

from tests.contract.emulator_play import Play, error

# ------------------------------------------------------------------------------------------- states


def test_create_to_running(play: Play) -> None:
    """pending, initializing, running; no replica is ready before."""
    created = play.create().json()["status"]
    assert (created["state"], created["readyReplica"], created["targetReplica"]) == ("pending", 0, 1)
    running = play.until("running")["status"]
    assert (running["readyReplica"], running["targetReplica"]) == (1, 1)
    assert play.emulator.states("demo") == ["pending", "initializing", "running"]


def test_pause_from_every_state_and_resume(play: Play) -> None:
    """Pause is valid from pending, initializing, running, updating, scaledToZero, failed and paused itself."""
    emulator = play.emulator
    emulator.behave("slow", pending_seconds=60)
    emulator.behave("booting", initializing_seconds=60)
    emulator.behave("broken", fail="no")
    emulator.behave("renewing", updating_seconds=60)
    play.create("slow")
    play.create("booting")
    play.create("broken")
    play.running("renewing")
    play.put({"model": {"repository": "org/new"}}, "renewing")
    play.running("zero")
    play.post("scale-to-zero", "zero")
    expected = {
        "slow": "pending",
        "booting": "initializing",
        "broken": "failed",
        "renewing": "updating",
        "zero": "scaledToZero",
    }
    for name, state in expected.items():
        play.until(state, name)
        for _ in range(2):
            paused = play.post("pause", name)
            assert (paused.status_code, paused.json()["status"]["state"]) == (200, "paused")
        assert paused.json()["status"]["readyReplica"] == 0
    assert play.post("resume", "zero").json()["status"]["state"] == "pending"
    play.until("running", "zero")


def test_resume_checks_the_quota_again(play: Play) -> None:
    """A paused endpoint frees its quota, and may not get it back."""
    play.emulator.set_quota("intel-icl", 2)
    play.running("first")
    assert play.create("second").status_code == 409
    play.post("pause", "first")
    assert play.create("second").status_code == 200
    assert error(play.post("resume", "first")) == (409, "Conflict: Quota exceeded", "CONFLICT")
    assert play.state("first") == "paused"


def test_scaled_to_zero_holds_its_quota(play: Play) -> None:
    play.emulator.set_quota("intel-icl", 2)
    play.running("first")
    play.post("scale-to-zero", "first")
    assert play.create("second").status_code == 409


def test_resume_from_zero(play: Play) -> None:
    """Resume wakes what is scaled to zero, without a new search for hardware."""
    play.running()
    assert play.post("scale-to-zero").json()["status"]["state"] == "scaledToZero"
    assert play.post("resume").json()["status"]["state"] == "initializing"
    play.until("running")


def test_idle_scale_to_zero(play: Play) -> None:
    """Without a request for scaleToZeroTimeout minutes it is scaled to zero, not a moment earlier."""
    play.running()
    play.emulator.advance(15 * 60 - 5)
    assert play.state() == "running"
    play.emulator.advance(5)
    assert play.state() == "scaledToZero"


def test_no_idle_scale_to_zero_with_a_minimum(play: Play) -> None:
    """An endpoint with minReplica 1 bills until someone stops it."""
    play.running(scaling={"minReplica": 1, "scaleToZeroTimeout": None})
    play.emulator.advance(7 * 24 * 3600)
    assert play.state() == "running"
    assert pytest.approx(0.064 * 7 * 24, rel=1e-3) == play.emulator.meter("demo")["usd"]


def test_update(play: Play) -> None:
    """PUT takes only what changes; it goes through updating to running."""
    play.running(tags=["one"])
    changed = play.put({"compute": {"instanceSize": "x4"}}).json()
    assert changed["status"]["state"] == "updating"
    assert (changed["compute"]["instanceType"], changed["compute"]["instanceSize"]) == ("intel-icl", "x4")
    assert (changed["tags"], changed["model"]["repository"]) == (["one"], "org/model")
    play.until("running")
    assert play.emulator.states("demo") == ["pending", "initializing", "running", "updating", "running"]
    assert play.emulator.meter("demo")["replicas"][-1]["price_per_hour"] == 0.128


def test_update_of_env_replaces_it(play: Play) -> None:
    play.running(model={"env": {"A": "1", "B": "2"}})
    assert play.put({"model": {"env": {"C": "3"}}}).json()["model"]["env"] == {"C": "3"}


def test_update_of_a_paused_one(play: Play) -> None:
    """What is parked passes through `updating` and is parked again (andimarafioti/s2s-endpoint, March 2026)."""
    play.running()
    play.post("pause")
    changed = play.put({"model": {"repository": "org/next"}}).json()
    assert (changed["status"]["state"], changed["model"]["repository"]) == ("updating", "org/next")
    assert play.post("resume").json()["error"] == "Bad Request: Endpoint is already running"
    play.emulator.advance(1)
    assert play.get().json()["status"]["state"] == "paused"


def test_capacity_and_quota_are_asked_for_what_starts(play: Play) -> None:
    """A paused endpoint may be updated whatever is free; resuming it, or moving a running one, may not."""
    play.running("halted")
    play.post("pause", "halted")
    play.running("busy")
    play.emulator.set_capacity("intel-icl", available=False)
    assert play.put({"compute": {"instanceSize": "x4"}}, "halted").status_code == 200
    play.emulator.advance(1)
    assert play.post("resume", "halted").json()["error"] == "Bad Request: Compute instance not available yet"
    assert play.put({"model": {"revision": "next"}}, "busy").status_code == 200
    assert play.put({"compute": {"instanceSize": "x4"}}, "busy").status_code == 400
    play.emulator.set_capacity("intel-icl", available=True)
    play.emulator.set_quota("intel-icl", 2)
    assert play.put({"compute": {"instanceSize": "x4"}}, "busy").status_code == 409


def test_update_of_tags_alone(play: Play) -> None:
    play.running()
    changed = play.put({"tags": ["a"]}).json()
    assert (changed["status"]["state"], changed["tags"]) == ("running", ["a"])


def test_update_to_unknown_hardware(play: Play) -> None:
    play.running()
    assert play.put({"compute": {"instanceSize": "x99"}}).status_code == 400
    assert play.get().json()["compute"]["instanceSize"] == "x2"


def test_failed_update_keeps_serving(play: Play) -> None:
    """updateFailed: the last update failed, the earlier version keeps serving."""
    play.emulator.behave("demo", fail_update="image not found", logs=("pulling image",))
    url = play.running()
    play.put({"model": {"repository": "org/next"}})
    status = play.until("updateFailed")["status"]
    assert status["errorMessage"] == "image not found"
    assert status["readyReplica"] == 1
    assert play.http.post(url, json={"inputs": "still there"}).status_code == 200
    assert "pulling image" in play.http.get(f"{play.base}/demo/logs").text


def test_failed_start(play: Play) -> None:
    """failed comes with message, errorMessage and log lines; what has failed costs nothing more."""
    play.emulator.behave("demo", fail="CUDA out of memory", logs=("loading shard 1", "loading shard 2"))
    play.create()
    status = play.until("failed")["status"]
    assert (status["message"], status["errorMessage"]) == ("Endpoint failed to start", "CUDA out of memory")
    lines = play.http.get(f"{play.base}/demo/logs").text.splitlines()
    assert lines[-3:] == ["loading shard 1", "loading shard 2", "CUDA out of memory"]
    cost = play.emulator.meter("demo")["usd"]
    play.emulator.advance(3600)
    assert cost == play.emulator.meter("demo")["usd"]


def test_failed_start_by_env(play: Play) -> None:
    """A DAG's author can ask for a failure through the endpoint's own env."""
    play.create(model={"env": {"EMULATOR_FAIL": "no such file", "EMULATOR_FAIL_STARTS": "1"}})
    assert play.until("failed")["status"]["errorMessage"] == "no such file"
    play.post("resume")
    play.until("running")


def test_delete(play: Play) -> None:
    """DELETE answers 200; GET may answer 200 for a moment more, then 404; the name is free again."""
    play.emulator.behave("demo", deleting_seconds=60)
    play.running()
    deleted = play.delete()
    assert (deleted.status_code, deleted.json()) == (200, {})
    assert play.get().status_code == 200
    assert play.delete().status_code == 200
    for action in ("pause", "resume", "scale-to-zero"):
        assert play.post(action).status_code == 400, action
    assert play.put({"tags": []}).status_code == 400
    assert play.create().status_code == 409
    play.emulator.advance(60)
    assert play.get().status_code == 404
    assert play.create().status_code == 200


def test_debug_agent(play: Play) -> None:
    """The debugger agent fills status.agentMessage."""
    play.emulator.behave("demo", fail="exploded")
    play.create()
    play.until("failed")
    assert "agentMessage" not in play.get().json()["status"]
    assert "exploded" in play.post("agent/debug").json()["status"]["agentMessage"]
