"""The endpoint of the container (Dockerfile): handler.py behind HTTP, by the toolkit's rules.

uvicorn serve:app --port 8000 serves it on this machine; GET /health says when it is ready.
"""

import base64
import io
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio import CapacityLimiter, to_thread
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from handler import MOST_BYTES, EndpointHandler
from pulse_plantain.output import write_png

BODY_BYTES = MOST_BYTES * 4 // 3 + 2**16
"""Largest body of a request: base64 of the largest clip, and its parameters."""

AT_ONCE = max(1, (os.cpu_count() or 1) // 2)
"""Requests that are measured at a time; the others wait, so that memory stays what it is."""


@asynccontextmanager
async def load(app: Starlette) -> AsyncIterator[None]:
    """Load the models before the first request, of the folder in ``MODEL_DIR`` or of this one."""
    if not hasattr(app.state, "endpoint"):
        app.state.endpoint = EndpointHandler(os.environ.get("MODEL_DIR", ""))
    app.state.limiter = CapacityLimiter(AT_ONCE)
    yield


async def say_ready(request: Request) -> Response:
    """Answer that the models are there."""
    return PlainTextResponse("ok")


async def measure(request: Request) -> Response:
    """Measure what was sent: JSON, or the bytes of a picture or a clip."""
    try:
        data = await read_request(request)
        state = request.app.state
        answer = await to_thread.run_sync(state.endpoint, data, limiter=state.limiter)
    except ValueError as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    if not isinstance(answer, Image.Image):
        return JSONResponse(answer)
    picture = encode_png(answer)
    if "image/" in request.headers.get("accept", ""):
        return Response(picture, media_type="image/png")
    return JSONResponse(base64.b64encode(picture).decode())


async def read_request(request: Request) -> dict[str, Any]:
    """``inputs`` and ``parameters`` of a request; those of the query count where it has no others.

    Raises:
        ValueError: if it is too large, no JSON, or of another type.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES:
            raise ValueError(f"up to {MOST_BYTES // 2**20} MiB are taken")
    kind = request.headers.get("content-type", "").partition(";")[0]
    if kind == "application/json":
        try:
            data: Any = json.loads(body)
        except ValueError:
            raise ValueError("the body is no JSON") from None
    elif kind.partition("/")[0] in ("image", "video"):
        data = {"inputs": bytes(body)}
    else:
        raise ValueError(f"send application/json, a picture or a video, not {kind!r}")
    if isinstance(data, dict) and request.query_params:
        data.setdefault("parameters", dict(request.query_params))
    return data


def encode_png(image: Image.Image) -> bytes:
    """A picture as PNG; pulse sheets keep their times, by which they are known when sent back."""
    file = io.BytesIO()
    write_png(image, file)
    return file.getvalue()


app = Starlette(
    routes=[
        Route("/", say_ready, methods=["GET"]),
        Route("/health", say_ready, methods=["GET"]),
        Route("/", measure, methods=["POST"]),
        Route("/predict", measure, methods=["POST"]),
    ],
    lifespan=load,
)
