"""FLUX at Together AI: synchronous, pictures as base64, no masks.

Owns the payload; answers and errors have OpenAI's shape. Sends nothing. Facts: together 3.1.1
(types/image_generate_params.py, image_file.py) and docs.together.ai. Base64 is asked for because
the host of the URLs answers 403 to some clients and how long they live is not documented, no more
than how a refused prompt is told (docs.together.ai, November 2026).
"""

from __future__ import annotations

from hosted_providers.capabilities import TOGETHER
from hosted_providers.common import (
    Call,
    Vendor,
    VendorRequest,
    bearer,
    error_from,
    parse_data,
    payload,
    told_error,
)
from image_io.http import HttpResponse
from image_provider import ContentRejectedError, ImageGenerationError

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


def parse_error(response: HttpResponse) -> ImageGenerationError | None:
    """The error, of the kind that the status tells."""
    told = told_error(response)
    if told is None:
        return None
    # How a refusal is told is not documented; the models' own texts have this word.
    refused = ContentRejectedError if "nsfw" in told[0].lower() else None
    return error_from(response, _TITLE, told[0], refused)


VENDOR = Vendor(
    name="flux_together",
    title=_TITLE,
    base_url="https://api.together.ai",
    domains=(),
    key_setting="TOGETHER_API_KEY",
    url_setting="TOGETHER_BASE_URL",
    catalog=TOGETHER,
    auth=bearer,
    build_request=build_request,
    parse_response=parse_data,
    parse_error=parse_error,
    answers_at_once=True,
)
