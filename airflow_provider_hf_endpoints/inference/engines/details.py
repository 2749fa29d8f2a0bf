"""What TGI tells of a text in the text's `details`, as handlers of the toolkit do that took the form over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_hf_endpoints.inference.engines import openai
from airflow_provider_hf_endpoints.inference.wire import Usage


def read_details(item: Any) -> tuple[str | None, Usage]:
    """Why a text ended and how many tokens it has; None for each that is not told."""
    details = item.get("details") if isinstance(item, Mapping) else None
    details = details if isinstance(details, Mapping) else {}
    prefill = details.get("prefill")
    usage = Usage(
        # Only told when decoder_input_details was asked for.
        prompt_tokens=len(prefill) if isinstance(prefill, list) and prefill else None,
        completion_tokens=openai.count(details.get("generated_tokens")),
    )
    return openai.text_or_none(details.get("finish_reason")), usage
