"""Misspelt names of parameters. Most engines ignore a name that they do not know, so `max_token` would limit nothing.

Each engine has its own parameters, and new releases have more, so an unknown name is sent. Only a name that is nearly
a known one is taken for a mistake.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from difflib import get_close_matches

from airflow_provider_hf_endpoints.inference.errors import UnsupportedParameterError

_NEAR = 0.88  # similarity of two names, by `difflib`: one letter of eight may differ
#: Names that an engine takes on some route: vLLM, SGLang, llama.cpp, TGI, TEI, transformers. A name that is missing
#: here is still sent, if it is not nearly one of these.
KNOWN = frozenset((
    "activation", "adapter_id", "add_generation_prompt", "add_special_tokens", "aggregation_strategy",
    "allowed_token_ids", "bad_words", "bad_words_ids", "best_of", "cache_prompt", "cache_salt", "candidate_labels",
    "chat_template", "chat_template_kwargs", "clean_up_tokenization_spaces", "continue_final_message",
    "decoder_input_details", "details", "dimensions", "diversity_penalty", "do_sample", "documents", "dry_base",
    "dry_multiplier", "dynatemp_range", "early_stopping", "ebnf", "echo", "embed_dtype", "encoding_format",
    "exponential_decay_length_penalty", "frequency_penalty", "function_call", "function_to_apply", "functions",
    "generate_kwargs", "grammar", "guided_choice", "guided_decoding_backend", "guided_grammar", "guided_json",
    "guided_regex", "guided_whitespace_pattern", "guideline", "hypothesis_template", "ignore_eos",
    "include_reasoning", "include_stop_str_in_output", "input_type", "instruction", "json_schema", "length_penalty",
    "logit_bias", "logits_processors", "logprobs", "lora_path", "max_completion_tokens", "max_length",
    "max_new_tokens", "max_time", "max_tokens", "metadata", "min_keep", "min_length", "min_new_tokens", "min_p",
    "min_tokens", "mirostat", "mirostat_eta", "mirostat_lr", "mirostat_tau", "mm_processor_kwargs", "modalities",
    "model", "multi_label", "n", "n_keep", "n_predict", "n_probs", "no_repeat_ngram_size", "no_stop_trim",
    "normalize", "normalized", "num_assistant_tokens", "num_beam_groups", "num_beams", "num_return_sequences",
    "parallel_tool_calls", "penalty_alpha", "pooling_params", "prefix", "presence_penalty", "priority",
    "prompt_cache_key", "prompt_logprobs", "prompt_name", "query", "raw_scores", "reasoning_effort", "regex",
    "repeat_last_n", "repeat_penalty", "repetition_penalty", "request_id", "response_format", "return_documents",
    "return_full_text", "return_hidden_states", "return_text", "return_token_ids", "return_tokens_as_token_ids",
    "return_type", "safety_identifier", "samplers", "seed", "separate_reasoning", "service_tier",
    "skip_special_tokens", "softmax", "spaces_between_special_tokens", "speculative", "src_lang", "stop",
    "stop_regex", "stop_sequence", "stop_sequences", "stop_strings", "stop_token_ids", "store", "stream",
    "stream_options", "structured_outputs", "suppress_tokens", "temperature", "text_pair", "tgt_lang",
    "thinking_budget", "threshold", "tokenization_kwargs", "tool_choice", "tool_prompt", "tools", "top_a", "top_k",
    "top_logprobs", "top_n", "top_n_sigma", "top_n_tokens", "top_p", "truncate", "truncate_prompt_tokens",
    "truncation", "truncation_direction", "typical", "typical_p", "use_beam_search", "use_cache", "user", "verbosity",
    "vllm_xargs", "watermark", "xtc_probability", "xtc_threshold",
))  # fmt: skip


@functools.lru_cache(maxsize=1024)
def meant_by(name: str) -> str | None:
    """The known name that a misspelt one probably means; None for a known name, or one that is like none."""
    if name in KNOWN:
        return None
    plain = name.strip().lower().replace("-", "_")
    if plain in KNOWN:
        return plain
    near = get_close_matches(plain, sorted(KNOWN), 1, _NEAR)
    return near[0] if near else None


def misspelt(names: Iterable[str]) -> list[tuple[str, str]]:
    """The misspelt ones of these names, each with the name that it probably means."""
    return [(name, meant) for name in names if (meant := meant_by(name)) is not None]


def refuse_misspelt(names: Iterable[str], task: str, where: str) -> None:
    """
    :param where: the engine, for the error
    :raises UnsupportedParameterError: a name is misspelt
    """
    for name, meant in misspelt(names):
        raise UnsupportedParameterError(
            f"`{name}` for {task!r} on {where}: did you mean `{meant}`? {where} would ignore {name!r}, or refuse it. "
            "If the engine has this parameter, send it in a `body`"
        )
