"""FLUX at fal: a queue whose URLs are used as they come back.

Owns the payload, the statuses and the error shapes. Sends nothing. Facts: fal.ai/docs (queue,
errors, FAQ: files are kept for seven days at least), libs/client/src/types/endpoints.ts of
fal-ai/fal-js, fal-client 1.0.3.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from typing import Any

from hosted_providers.capabilities import FAL
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
    GenerationCancelledError,
    GenerationFailedError,
    ImageGenerationError,
    ProviderUnavailableError,
)

_TITLE = "fal"


def build_request(call: Call) -> VendorRequest:
    """The path is the model id; input images are data URIs."""
    body = payload(call, lambda image: image.reference)
    if call.size is not None:
        body["image_size"] = {"width": call.size[0], "height": call.size[1]}
    if call.aspect_ratio is not None:
        body["aspect_ratio"] = call.aspect_ratio
    return VendorRequest(f"/{call.model.id}", json_body=body)


def parse_response(body: Any, job: Job | None = None) -> Job:
    """The queued job, its status, or its result.

    COMPLETED may be a failure: the result's URL then answers with the error's own status, and
    says more, so it is asked in any case.
    """
    if job is None:
        return Job(
            id=body["request_id"],
            poll_url=body["status_url"],
            result_url=body["response_url"],
            cancel_url=body.get("cancel_url"),
            queue_position=body.get("queue_position"),
        )
    match body.get("status"):
        case "COMPLETED":
            error = body.get("error")
            return replace(
                job,
                stage="running",
                fraction=1.0,
                poll_url=job.result_url,
                failure=None if error is None else str(error),
                usage=body.get("metrics") or {},
            )
        case "IN_QUEUE":
            return replace(job, stage="queued", queue_position=body.get("queue_position"))
        case None:
            return replace(job, stage="running", fraction=1.0, images=_images(body))
        case _:
            return replace(job, stage="running", queue_position=None)


def _images(body: Any) -> tuple[VendorImage, ...]:
    """What was not blacked out by the safety checker."""
    items = body["images"]
    flags = body.get("has_nsfw_concepts") or []
    kept = [item for item, flagged in zip_longest(items, flags) if item and not flagged]
    if items and not kept:
        raise ContentRejectedError(f"{_TITLE}: the safety checker blacked out every picture")
    seed, prompt = body.get("seed"), body.get("prompt")
    return tuple(VendorImage(url=item["url"], seed=seed, revised_prompt=prompt) for item in kept)


def parse_error(response: HttpResponse) -> ImageGenerationError | None:
    """The error of {"detail": text or [{loc, msg, type}], "error_type"}."""
    body = response.json_or_none()
    detail = body.get("detail") if isinstance(body, dict) else None
    message = validation_message(detail)
    if not message:
        return None
    problems = detail if isinstance(detail, list) else []
    kinds = {problem.get("type") for problem in problems if isinstance(problem, dict)}
    error_class = _error_class({*kinds, body.get("error_type")}, response)
    error = error_from(response, _TITLE, message, error_class)
    if isinstance(error, ProviderUnavailableError) and body.get("error_type"):
        # It tells how the job ended, not how this question went.
        error.retryable = False
    return error


def _error_class(kinds: set[Any], response: HttpResponse) -> type[ImageGenerationError] | None:
    if "content_policy_violation" in kinds:
        return ContentRejectedError
    if "client_cancelled" in kinds:
        return GenerationCancelledError
    # A status of 4xx that is worth another try is no fault of the request: a partner of fal's that
    # failed is told with 400, a model that made nothing with 422.
    retryable = response.headers.get("x-fal-retryable", "").lower() == "true"
    if "no_media_generated" in kinds or (retryable and response.status in (400, 422)):
        return GenerationFailedError
    return None


VENDOR = Vendor(
    name="flux_fal",
    title=_TITLE,
    base_url="https://queue.fal.run",
    domains=("fal.run",),
    key_setting="FAL_KEY",
    url_setting="FAL_BASE_URL",
    catalog=FAL,
    auth=lambda key: {"Authorization": f"Key {key}"},
    build_request=build_request,
    parse_response=parse_response,
    parse_error=parse_error,
    cancel_method="PUT",
    usage_headers={"x-fal-billable-units": "billable_units"},
)
