"""How a poll that was refused asks more slowly, and comes back."""

from __future__ import annotations

from airflow_provider_hf_endpoints.endpoints.waiting.poll_pace import PollPace


def test_who_was_never_refused_asks_as_fast_as_it_likes() -> None:
    """Also after many rounds."""
    pace = PollPace()
    for _ in range(100):
        pace.answered()
    assert 0.0 == pace.pause(10)


def test_each_refusal_halves_the_pace_up_to_a_bound() -> None:
    """By the requests of a round, so that a round of many pages waits for longer than one look."""
    pace = PollPace()
    seen = []
    for _ in range(10):
        pace.refused()
        seen.append((pace.pause(1), pace.pause(5)))
    assert [(1.0, 5.0), (2.0, 10.0), (4.0, 20.0), (8.0, 40.0), (16.0, 60.0), (30.0, 60.0)] == seen[:6]
    assert (30.0, 60.0) == seen[-1]


def test_answers_bring_it_back() -> None:
    """After about thirty rounds there is no pause at all."""
    pace = PollPace()
    pace.refused()
    pauses = []
    for _ in range(40):
        pace.answered()
        pauses.append(pace.pause(1))
    assert pauses == sorted(pauses, reverse=True)
    assert (0.9, 0.0) == (pauses[0], pauses[-1])


def test_a_refusal_after_a_recovery_begins_anew() -> None:
    """At the first step, and not where the last one ended."""
    pace = PollPace()
    for _ in range(10):
        pace.refused()
    for _ in range(100):
        pace.answered()
    pace.refused()
    assert 1.0 == pace.pause(1)
