"""A pipeline of transformers behind `POST /`, as the inference toolkit has it: `engines_pipeline.py MODEL PORT`.

The toolkit itself comes in no package. What matters of it here is what its pipeline makes of `inputs` and `parameters`,
and that every exception is a 400; both are the same here. One call at a time, and its `/metrics`.
"""

from __future__ import annotations

import asyncio
import sys

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from transformers import pipeline

app = FastAPI(openapi_url=None)
torch.set_num_threads(1)
turn = asyncio.Semaphore(1)
waiting = 0
generate = pipeline("text-generation", model=sys.argv[1])


@app.get("/")
@app.get("/health")
async def health() -> PlainTextResponse:
    """It is there."""
    return PlainTextResponse("Ok")


@app.get("/metrics")
async def metrics() -> PlainTextResponse:
    """How many wait."""
    return PlainTextResponse(f"inf_batch_current_size {int(turn.locked())}\ninf_queue_size {waiting}\n")


@app.post("/")
async def predict(request: Request) -> JSONResponse:
    """One call of the pipeline."""
    global waiting
    waiting += 1
    async with turn:
        waiting -= 1
        try:
            body = await request.json()
            answer = await asyncio.to_thread(generate, body["inputs"], **body.get("parameters", {}))
        except Exception as error:  # noqa: BLE001 - as the toolkit does
            return JSONResponse({"error": str(error)}, 400)
    return JSONResponse(answer)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
