"""Specifications of endpoints that several files create: those of Hugging Face's guide, and one on a GPU."""

from __future__ import annotations

from typing import Any

GPT2: dict[str, Any] = {
    "repository": "gpt2",
    "framework": "pytorch",
    "task": "text-generation",
    "accelerator": "cpu",
    "vendor": "aws",
    "region": "us-east-1",
    "type": "authenticated",
    "instance_size": "x2",
    "instance_type": "intel-icl",
}
ZEPHYR: dict[str, Any] = {
    "repository": "HuggingFaceH4/zephyr-7b-beta",
    "framework": "pytorch",
    "task": "text-generation",
    "accelerator": "gpu",
    "vendor": "aws",
    "region": "us-east-1",
    "type": "authenticated",
    "instance_size": "x1",
    "instance_type": "nvidia-a10g",
}
TGI_IMAGE = "ghcr.io/huggingface/text-generation-inference:1.1.0"
TGI_ENV = {
    "MAX_BATCH_PREFILL_TOKENS": "2048",
    "MAX_INPUT_LENGTH": "1024",
    "MAX_TOTAL_TOKENS": "1512",
    "MODEL_ID": "/repository",
}
L4: dict[str, Any] = {
    "repository": "gpt2",
    "framework": "pytorch",
    "task": "text-generation",
    "accelerator": "gpu",
    "vendor": "aws",
    "region": "us-east-1",
    "instance_type": "nvidia-l4",
    "instance_size": "x1",
}
