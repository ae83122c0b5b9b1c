"""FLUX at Replicate: a prediction that is asked to answer at once and is polled when it cannot.

Owns the payload, the upload of larger inputs, the statuses and the error shapes. Sends nothing.
Facts: replicate.com/docs (predictions, HTTP reference), the models' schema pages, replicate 1.0.7.
Outputs are deleted after an hour.
"""

from __future__ import annotations

from typing import Any

from hosted_providers.capabilities import REPLICATE
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
from image_provider import (
    ContentRejectedError,
    GenerationCancelledError,
    GenerationFailedError,
    ImageGenerationError,
    ProviderUnavailableError,
)

_TITLE = "Replicate"
# Data URIs up to 256 KB are taken, and base64 writes three bytes as four characters.
_LARGEST_INLINE = (256_000 - len("data:image/png;base64,")) // 4 * 3
# Failures have no code of their own; these are in the texts that the models fail with.
_MODERATION_WORDS = ("nsfw", "flagged as sensitive", "(e005)")


def build_request(call: Call) -> VendorRequest:
    """A prediction of an official model, or of the version that an id or owner/name:id names."""
    inputs = payload(call, lambda image: image.reference)
    if call.size is not None:
        # Width and height count for a custom ratio only.
        inputs["aspect_ratio"] = "custom"
        inputs["width"], inputs["height"] = call.size
    if call.aspect_ratio is not None:
        inputs["aspect_ratio"] = call.aspect_ratio
    headers = {"Prefer": "wait"}
    if ":" in call.model.id or "/" not in call.model.id:
        body = {"version": call.model.id, "input": inputs}
        return VendorRequest("/v1/predictions", json_body=body, headers=headers)
    path = f"/v1/models/{call.model.id}/predictions"
    return VendorRequest(path, json_body={"input": inputs}, headers=headers)


def build_upload(png: bytes) -> VendorRequest:
    """The upload of an input that is too large for a data URI."""
    return VendorRequest("/v1/files", files={"content": ("image.png", png, "image/png")})


def parse_upload(body: Any) -> str:
    """The URL by which a prediction names an uploaded file."""
    return str(body["urls"]["get"])


def parse_response(body: Any, job: Job | None = None) -> Job:
    """The prediction as it stands: every answer has the same shape."""
    status = body["status"]
    failure = _failure(status, str(body.get("error") or "no reason given"))
    if failure is not None:
        raise failure
    return Job(
        id=body["id"],
        poll_url=body["urls"]["get"],
        cancel_url=body["urls"].get("cancel"),
        stage="queued" if status == "starting" else "running",
        fraction=1.0 if status == "succeeded" else 0.0,
        images=_images(body["output"]) if status == "succeeded" else None,
        usage=body.get("metrics") or {},
    )


def _images(output: Any) -> tuple[VendorImage, ...]:
    urls = [output] if isinstance(output, str) else output
    return tuple(VendorImage(url=url) for url in urls)


def _failure(status: str, reason: str) -> ImageGenerationError | None:
    match status:
        case "failed" if any(word in reason.lower() for word in _MODERATION_WORDS):
            return ContentRejectedError(f"{_TITLE} refused: {reason}")
        case "failed":
            return GenerationFailedError(
                f"{_TITLE}: the prediction failed: {reason}", detail=reason
            )
        case "canceled":
            return GenerationCancelledError(f"{_TITLE}: the prediction was cancelled")
        case "aborted":
            return ProviderUnavailableError(
                f"{_TITLE}: the prediction's deadline passed before it started", retryable=False
            )
    return None


def parse_error(response: HttpResponse) -> ImageGenerationError | None:
    """The error of {title, detail, status} (RFC 7807)."""
    body = response.json_or_none()
    if not isinstance(body, dict):
        return None
    message = body.get("detail") or body.get("title")
    # On a 422 the detail has a line for every invalid field.
    lines = [line.strip(" -") for line in str(message).splitlines()]
    shown = "; ".join(line for line in lines if line)
    return error_from(response, _TITLE, shown) if message else None


VENDOR = Vendor(
    name="flux_replicate",
    title=_TITLE,
    base_url="https://api.replicate.com",
    domains=("api.replicate.com",),
    key_setting="REPLICATE_API_TOKEN",
    url_setting="REPLICATE_BASE_URL",
    catalog=REPLICATE,
    auth=bearer,
    build_request=build_request,
    parse_response=parse_response,
    parse_error=parse_error,
    # "Prefer: wait" holds the answer back for up to 60 seconds.
    read_timeout=90.0,
    cancel_method="POST",
    upload_above=_LARGEST_INLINE,
    build_upload=build_upload,
    parse_upload=parse_upload,
)
