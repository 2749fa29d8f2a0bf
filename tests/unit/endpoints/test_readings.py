"""What can be read of an endpoint and of the service, with the service's part played by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_hf_endpoints.endpoints import errors
from airflow_provider_hf_endpoints.endpoints.api import flows, readings
from tests.unit.endpoints.play import (
    FORBIDDEN,
    NOT_FOUND,
    NOW,
    TIMEOUT,
    Play,
    endpoint,
    service_error,
)

TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567"

LINE = {"timestamp": "2026-10-05T12:00:00Z", "line": "a", "stream": "stdout", "replica_id": "r"}
LOGS_3 = "GET /v3/endpoint/acme/tickets/logs"
LOGS_2 = "GET /v2/endpoint/acme/tickets/logs"


def lines(*entries: tuple[int | None, str]) -> list[dict[str, Any]]:
    return [
        {**LINE, "line": text, "timestamp": None if second is None else (NOW + timedelta(seconds=second)).isoformat()}
        for second, text in entries
    ]


@pytest.mark.parametrize(
    "answered",
    [lines((1, "a"), (2, "b"), (2, "c"), (3, "d")), lines((3, "d"), (2, "c"), (2, "b"), (1, "a"))],
    ids=["ascending", "descending"],
)
def test_logs_are_oldest_first(answered: list[dict[str, Any]]) -> None:
    """Whichever way the service lists them, lines of the same moment included."""
    play = Play(answered)
    assert [entry.line for entry in play.run(readings.logs(play.session, "tickets", None))] == ["a", "b", "c", "d"]


def test_the_newest_lines_are_asked_for() -> None:
    """The order is asked for and not left to a default: the oldest lines would explain nothing."""
    play = Play([])
    play.run(readings.logs(play.session, "tickets", None))
    assert play.requests[0].params == {"limit": "100", "order": "desc"}


def test_logs_without_moments_are_in_the_contracts_order() -> None:
    """Lines without times, or of one moment, come ascending, as the contract says; a time without a zone is UTC."""
    for second in (None, 1):
        play = Play(lines((second, "a"), (second, "b"), (second, "c")))
        assert [entry.line for entry in play.run(readings.logs(play.session, "tickets", None))] == ["a", "b", "c"]
    mixed = [{**LINE, "timestamp": "2026-10-05T12:00:00"}, {**LINE, "timestamp": "2026-10-05T12:00:01Z", "line": "b"}]
    play = Play(mixed)
    assert [entry.line for entry in play.run(readings.logs(play.session, "tickets", None))] == ["a", "b"]


def test_the_last_lines_are_kept() -> None:
    """`tail` bounds what is asked for and what is returned."""
    play = Play(lines((1, "a"), (2, "b"), (3, "c")))
    assert [entry.line for entry in play.run(readings.logs(play.session, "tickets", None, tail=2))] == ["b", "c"]
    assert play.requests[0].params["limit"] == "2"


@pytest.mark.parametrize("tail", [0, -1, 5001])
def test_a_tail_that_makes_no_sense(tail: int) -> None:
    """The service gives 1 to 5,000 lines; 0 would have been all of them."""
    with pytest.raises(errors.InvalidArgumentError, match=f"tail={tail}"):
        Play().run(readings.logs(Play().session, "tickets", None, tail=tail))


def test_logs_fall_back_to_text() -> None:
    """501 from the log search: the text log serves, with the same number of lines."""
    play = Play(service_error(501), "one\ntwo\nthree\n")
    found = play.run(readings.logs(play.session, "tickets", None, tail=2, replica="r"))
    assert [entry.line for entry in found] == ["two", "three"]
    assert play.asked == [LOGS_3, LOGS_2]
    assert play.requests[1].params == {"tail": "2", "replica": "r", "follow": "false"}


@pytest.mark.parametrize(
    "filters", [{"level": "ERROR"}, {"search": "x"}, {"since": NOW}, {"until": "2026-10-05T12:00:00Z"}]
)
def test_a_filter_is_not_silently_dropped(filters: dict[str, Any]) -> None:
    """The text log knows no such filter: the 501 is raised rather than wrong lines returned."""
    with pytest.raises(errors.ServiceError, match="501"):
        Play(service_error(501)).run(readings.logs(Play().session, "tickets", None, **filters))


def test_other_errors_of_logs_are_errors() -> None:
    """Only 501 means "not here"."""
    play = Play(service_error(503))
    with pytest.raises(errors.ServiceError):
        play.run(readings.logs(play.session, "tickets", None))
    assert play.asked == [LOGS_3]


@pytest.mark.parametrize("answer", [{}, None, "text", [7]])
def test_odd_logs_are_a_typed_error(answer: Any) -> None:
    """An answer that is not a list of lines fails with the path."""
    with pytest.raises(errors.InvalidAnswerError, match="/v3/endpoint/acme/tickets/logs"):
        Play(answer).run(readings.logs(Play().session, "tickets", None))


def test_replicas() -> None:
    """Each with its stage."""
    play = Play({"items": [{"id": "r1", "versionId": "v", "status": {"stage": "pulling", "live": False}}]})
    assert [each.stage for each in play.run(readings.replicas(play.session, "tickets", None))] == ["pulling"]


@pytest.mark.parametrize("answer", [[], None, {"items": None}, {"items": [7]}])
def test_odd_replicas_are_a_typed_error(answer: Any) -> None:
    """An answer that is not a list of replicas fails with the path."""
    with pytest.raises(errors.InvalidAnswerError, match="/replica"):
        Play(answer).run(readings.replicas(Play().session, "tickets", None))


def test_a_metric_until_now() -> None:
    """Without an end it is now, by the client's clock."""
    play = Play({"series": []})
    play.run(readings.metric(play.session, "tickets", None, "replica-running", start=NOW - timedelta(hours=1)))
    assert play.requests[0].json == {"start": "2026-10-05T11:00:00+00:00", "stop": "2026-10-05T12:00:00+00:00"}


@pytest.mark.parametrize("field", ["start", "stop"])
def test_a_metric_needs_aware_moments(field: str) -> None:
    """A moment without a zone means another one for the service."""
    moments: dict[str, Any] = {"start": NOW, "stop": NOW, field: datetime(2026, 10, 5)}
    with pytest.raises(errors.InvalidArgumentError, match=rf"{field}=.*zone"):
        Play().run(readings.metric(Play().session, "tickets", None, "pending-request", **moments))


# --- hardware, quotas


COMPUTE = {"instanceType": "nvidia-l4", "instanceSize": "x1", "accelerator": "gpu"}


def vendors(*computes: Any) -> dict[str, Any]:
    return {"vendors": [{"name": "aws", "regions": [{"name": "us-east-1", "computes": list(computes)}]}]}


def test_hardware_knows_its_place() -> None:
    """Vendor and region of the nested answer are on every instance."""
    play = Play(vendors(COMPUTE))
    (found,) = play.run(readings.hardware(play.session, None))
    assert found.path == "aws/us-east-1/nvidia-l4/x1"
    assert play.asked == ["GET /v2/provider/acme"]


def test_hardware_without_quota_needs_no_namespace() -> None:
    """The public list does not look up the token's user."""
    play = Play(vendors(COMPUTE), namespace=None)
    assert len(play.run(readings.hardware(play.session, None, with_quota=False))) == 1
    assert play.asked == ["GET /v2/provider"]


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        {"vendors": [7]},
        {"vendors": [{"name": "aws"}]},
        {"vendors": [{"regions": [7]}]},
        vendors(7),
        vendors({}),
    ],
)
def test_odd_hardware_is_a_typed_error(answer: Any) -> None:
    """An answer that is not a hardware list fails with the path."""
    with pytest.raises(errors.InvalidAnswerError, match="/v2/provider/acme"):
        Play(answer).run(readings.hardware(Play().session, None))


def test_quotas() -> None:
    """Each with its vendor."""
    answer = {
        "vendors": [
            {
                "name": "aws",
                "quotas": [{"instanceType": "nvidia-l4", "maxAccelerators": 4, "usedAccelerators": 1}],
            }
        ]
    }
    play = Play(answer)
    (found,) = play.run(readings.quotas(play.session, None))
    assert (
        found.vendor,
        found.instance_type,
        found.max_accelerators,
        found.used_accelerators,
    ) == ("aws", "nvidia-l4", 4, 1)


@pytest.mark.parametrize("answer", [[], {"vendors": [{"name": "aws", "quotas": [7]}]}, {"vendors": [{"name": "aws"}]}])
def test_odd_quotas_are_a_typed_error(answer: Any) -> None:
    """An answer that is not a list of quotas fails with the path."""
    with pytest.raises(errors.InvalidAnswerError, match="/v2/provider/quotas/acme"):
        Play(answer).run(readings.quotas(Play().session, None))


# --- describe_failure


def test_the_last_lines_of_a_failure_are_redacted() -> None:
    """The lines explain, and neither tokens nor the endpoint's own secrets are in them."""
    play = Play(lines((1, f"token {TOKEN}"), (2, "secret s3cr3t-value  "), (3, "CUDA out of memory")))
    said = play.run(readings.describe_failure(play.session, endpoint("failed"), secrets=("s3cr3t-value",)))
    assert said == "Last 3 lines of its log:\n  token ***\n  secret ***\n  CUDA out of memory"


@pytest.mark.parametrize(
    "replies",
    [
        [NOT_FOUND],
        [FORBIDDEN],
        [TIMEOUT],
        [service_error(501), service_error(500)],
        [{"no": "list"}],
        [[7]],
        [errors.BadRequestError("quotes s3cr3t-value", status=400)],
    ],
    ids=str,
)
def test_a_log_that_cannot_be_read_is_said(replies: list[Any]) -> None:
    """Explaining a failure never fails itself, nor shows what it must not."""
    play = Play(*replies)
    said = play.run(readings.describe_failure(play.session, endpoint("failed"), secrets=("s3cr3t-value",)))
    assert said.startswith("(Could not read its log: ")
    assert "s3cr3t-value" not in said


def test_an_empty_log_is_said() -> None:
    """No lines, no header over nothing."""
    assert Play([]).run(readings.describe_failure(Play().session, endpoint("failed"))) == "(Its log is empty.)"


def test_an_endpoint_with_an_odd_name_can_be_described() -> None:
    """An old endpoint whose name this package would refuse still gets its explanation, not an error."""
    odd = endpoint("failed").model_copy(update={"name": "Odd_Name"})
    assert "Could not read" in Play().run(readings.describe_failure(Play().session, odd))


def test_the_clock_of_a_session_is_aware() -> None:
    """Ages are counted between aware moments."""
    assert flows.Session().now().tzinfo == UTC
