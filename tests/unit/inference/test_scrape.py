"""Reading an engine's metrics: pages as the engines serve them, and when to look again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_hf_endpoints.inference.engines.scrape import Scraper, read_metrics
from airflow_provider_hf_endpoints.inference.wire import Load

VLLM = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="org/model"} 256.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="org/model"} 17.0
vllm:num_requests_waiting{engine="1",model_name="a } in a label"} 3.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="org/model"} 0.41
vllm:kv_cache_usage_perc{engine="1",model_name="org/model"} 0.43
vllm:e2e_request_latency_seconds_bucket{le="+Inf",model_name="org/model"} 812.0
"""
SGLANG = """# TYPE sglang:num_queue_reqs gauge
sglang:num_queue_reqs{model_name="org/model"} 2826.0
# TYPE sglang:token_usage gauge
sglang:token_usage{model_name="org/model"} 0.28
"""
TGI = """# TYPE tgi_queue_size gauge
tgi_queue_size 5

# TYPE tgi_batch_current_size gauge
tgi_batch_current_size 32
"""
LLAMACPP = """# HELP llamacpp:requests_processing Number of requests processing.
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 4
# HELP llamacpp:requests_deferred Number of requests deferred.
# TYPE llamacpp:requests_deferred gauge
llamacpp:requests_deferred 9
"""
TOOLKIT = """inf_batch_current_size 1
inf_queue_size 12
inf_accepting 1
inf_auto_frozen 0
"""


@pytest.mark.parametrize(
    ("text", "load"),
    [
        (TOOLKIT, Load(12.0)),
        (VLLM, Load(20.0, 0.43)),
        (SGLANG, Load(2826.0, 0.28)),
        (TGI, Load(5.0)),
        (LLAMACPP, Load(9.0)),
        ("tgi_queue_size 7 1712345678000\n", Load(7.0)),
        ("tgi_queue_size NaN\n", None),
        ("tgi_queue_size\n", None),
        ("process_cpu_seconds_total 12\n", None),
        ("<html>no metrics here</html>", None),
        ("", None),
    ],
)
def test_each_engines_page_is_read(text: str, load: Load | None) -> None:
    """The queue, and the cache if the engine reports it; several lines of a metric are added up."""
    assert load == read_metrics(text)


@given(st.text())
def test_no_page_breaks_it(text: str) -> None:
    """Whatever is served, reading it raises nothing."""
    load = read_metrics(text)
    assert load is None or load.waiting >= 0


def test_looks_are_smoothed() -> None:
    """Each shows one replica of several."""
    scraper = Scraper()
    assert scraper.load(0.0) is None
    scraper.saw(0.0, 200, "tgi_queue_size 10\n")
    assert scraper.load(1.0) == Load(10.0)
    scraper.saw(3.0, 200, "tgi_queue_size 0\n")
    assert scraper.load(4.0) == Load(7.0)
    assert scraper.load(100.0) is None


@pytest.mark.parametrize(("status", "text"), [(404, ""), (401, ""), (403, "{}"), (405, "")])
def test_an_engine_without_metrics_is_asked_once(status: int, text: str) -> None:
    """It has no such route."""
    scraper = Scraper()
    scraper.saw(0.0, status, text)
    assert scraper.given_up


def test_a_page_without_use_is_looked_at_three_times() -> None:
    """While a 503 of a proxy says nothing about the route."""
    scraper = Scraper()
    for _ in range(5):
        scraper.saw(0.0, 503, "")
        scraper.saw(0.0, 429, "")
    assert not scraper.given_up
    for _ in range(3):
        scraper.saw(0.0, 200, "<html>")
    assert scraper.given_up
