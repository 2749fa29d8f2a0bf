"""An endpoint to try, made through the emulator's own API: vLLM with a small model that chats."""

from __future__ import annotations

import json
import urllib.error
import urllib.request


def make_endpoint(url: str, namespace: str, token: str, name: str) -> None:
    """Create it. Raises `ValueError` with the service's words if the service refuses."""
    place = {"provider": {"vendor": "aws", "region": "us-east-1"}, "type": "authenticated", "name": name}
    scaling = {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 15}
    compute = {"accelerator": "gpu", "instanceType": "nvidia-l4", "instanceSize": "x1", "scaling": scaling}
    image = {"vLLM": {"url": "vllm/vllm-openai:v0.23.0", "healthRoute": "/health"}}
    model = {"repository": "HuggingFaceTB/SmolLM2-135M-Instruct", "framework": "pytorch", "image": image}
    request = urllib.request.Request(
        f"{url}/v2/endpoint/{namespace}",
        json.dumps({**place, "compute": compute, "model": {**model, "task": "text-generation"}}).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        direct.open(request, timeout=30).close()
    except urllib.error.HTTPError as error:
        raise ValueError(f"endpoint {name}: {error.read().decode('utf-8', 'replace')}") from error
