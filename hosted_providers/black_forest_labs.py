"""FLUX at Black Forest Labs: submit, poll the URL that comes back, download within ten minutes.

Owns the payload, the statuses and the error shapes. Sends nothing. Facts: docs.bfl.ai and its
OpenAPI (api.bfl.ai/openapi.json), black-forest-labs/blackforest 0.2.0. There is no cancelling. Its
page of errors has 429 and 503 and no Retry-After, which is heeded where it comes all the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hosted_providers.capabilities import BFL
from hosted_providers.common import (
    Call,
    Job,
    Vendor,
    VendorImage,
    VendorRequest,
    error_from,
    payload,
    validation_message,
)
from image_io.http import HttpResponse
from image_provider import (
    ContentRejectedError,
    GenerationFailedError,
    ImageGenerationError,
    ProviderUnavailableError,
)

_TITLE = "Black Forest Labs"
_MODERATED = {"Request Moderated": "the prompt or input", "Content Moderated": "the picture"}


def build_request(call: Call) -> VendorRequest:
    """The endpoint is named by the model; input images are base64 without a data: prefix."""
    body = payload(call, lambda image: image.base64)
    if call.size is not None:
        body["width"], body["height"] = call.size
    if call.aspect_ratio is not None:
        body["aspect_ratio"] = call.aspect_ratio
    return VendorRequest(f"/v1/{call.model.id}", json_body=body)


def parse_response(body: Any, job: Job | None = None) -> Job:
    """The submitted job, or where it stands; a status that nobody knows yet is one on the way."""
    if job is None:
        usage = {name: body[name] for name in ("cost", "input_mp", "output_mp") if name in body}
        return Job(id=body["id"], poll_url=body["polling_url"], usage=usage)
    status = body["status"]
    if status == "Ready":
        result = body["result"]
        image = VendorImage(
            url=result["sample"], seed=result.get("seed"), revised_prompt=result.get("prompt")
        )
        return replace(job, stage="running", fraction=1.0, images=(image,))
    failure = _failure(status, body.get("details"))
    if failure is not None:
        raise failure
    told = body.get("progress")
    progress = float(told) if isinstance(told, (int, float)) else 0.0
    stage = "queued" if status == "Pending" and not progress else "running"
    return replace(job, stage=stage, fraction=progress)


def _failure(status: str, details: Any) -> ImageGenerationError | None:
    shown = f": {details}" if details else ""
    if status in _MODERATED:
        return ContentRejectedError(f"{_TITLE} refused {_MODERATED[status]}{shown}")
    if status == "Error":
        return GenerationFailedError(f"{_TITLE}: the generation failed{shown}", detail=str(details))
    if status == "Task not found":
        return ProviderUnavailableError(f"{_TITLE} no longer knows the job", retryable=False)
    return None


def parse_error(response: HttpResponse) -> ImageGenerationError | None:
    """The text stands in `detail`, `message` or `error`, as its SDK reads them."""
    body = response.json_or_none()
    if not isinstance(body, dict):
        return None
    failure = _failure(str(body.get("status")), body.get("details"))
    if failure is not None:
        return failure
    message = validation_message(body.get("detail")) or body.get("message") or body.get("error")
    return error_from(response, _TITLE, str(message)) if message else None


VENDOR = Vendor(
    name="flux_bfl",
    title=_TITLE,
    base_url="https://api.bfl.ai",
    domains=("bfl.ai",),
    key_setting="BLACK_FOREST_LABS_API_KEY",
    url_setting="BFL_BASE_URL",
    catalog=BFL,
    auth=lambda key: {"x-key": key},
    build_request=build_request,
    parse_response=parse_response,
    parse_error=parse_error,
)
