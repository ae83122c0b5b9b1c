"""FLUX at Together AI: synchronous, pictures as base64, no masks.

Owns the payload, the answer's shape and the error shape. Sends nothing. Facts: together 3.1.1
(types/image_generate_params.py, image_file.py) and docs.together.ai. Base64 is asked for because
the host of the URLs answers 403 to some clients and how long they live is not documented.
"""

from __future__ import annotations

from typing import Any

from hosted_providers.capabilities import TOGETHER
from hosted_providers.common import (
    Call,
    Job,
    Vendor,
    VendorImage,
    VendorRequest,
    bearer,
    error_from,
    payload,
)
from image_io.http import HttpResponse
from image_provider import ImageGenerationError

_TITLE = "Together"


def build_request(call: Call) -> VendorRequest:
    """One endpoint for all; input images are data URIs."""
    body = payload(call, lambda image: image.reference)
    if call.size is not None:
        body["width"], body["height"] = call.size
    return VendorRequest(
        "/v1/images/generations",
        json_body={"model": call.model.id, "response_format": "base64", **body},
    )


def parse_response(body: Any, job: Job | None = None) -> Job:
    """The pictures; there is no job to wait for."""
    images = tuple(
        VendorImage(base64=item.get("b64_json"), url=item.get("url")) for item in body["data"]
    )
    return Job(id=body.get("id"), stage="done", fraction=1.0, images=images)


def parse_error(response: HttpResponse) -> ImageGenerationError | None:
    """The error of {"error": {message, type, param, code}}."""
    body = response.json_or_none()
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not error.get("message"):
        return None
    param = error.get("param")
    return error_from(
        response, _TITLE, f"{error['message']}{f' (parameter {param})' if param else ''}"
    )


VENDOR = Vendor(
    name="flux_together",
    title=_TITLE,
    base_url="https://api.together.ai",
    domains=(),
    key_setting="TOGETHER_API_KEY",
    catalog=TOGETHER,
    auth=bearer,
    build_request=build_request,
    parse_response=parse_response,
    parse_error=parse_error,
    answers_at_once=True,
    # One answer holds the whole generation.
    read_timeout=300.0,
)
