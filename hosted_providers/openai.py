"""OpenAI Images, and servers that are compatible with it: synchronous, pictures as base64.

Owns the payloads of /images/generations and /images/edits and the error codes. Sends nothing.
Facts: openai 3.57.0 (types/image_generate_params.py, image_edit_params.py, images_response.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hosted_providers.capabilities import OPENAI
from hosted_providers.common import (
    Call,
    Vendor,
    VendorRequest,
    bearer,
    error_from,
    parse_data,
    told_error,
)
from hosted_providers.provider import JOB_SECONDS, HostedProvider
from image_io.http import HttpResponse
from image_io.source_images import LoadSource
from image_provider import AuthenticationError, ContentRejectedError, ImageGenerationError

_TITLE = "OpenAI Images"
# The older code is that of the retired models; compatible servers still answer with it.
_ERROR_CLASSES: dict[str, type[ImageGenerationError]] = {
    "moderation_blocked": ContentRejectedError,
    "content_policy_violation": ContentRejectedError,
    "insufficient_quota": AuthenticationError,
    "billing_hard_limit_reached": AuthenticationError,
}


def build_request(call: Call) -> VendorRequest:
    """Generations as JSON; with a source image, edits as a multipart form."""
    fields: dict[str, Any] = {
        "model": call.model.id,
        "prompt": call.prompt,
        "n": call.count,
        **call.model.constants,
        **call.options,
    }
    if call.size is not None:
        fields["size"] = f"{call.size[0]}x{call.size[1]}"
    if call.source is None:
        return VendorRequest("/images/generations", json_body=fields)
    files = {"image": ("image.png", call.source.png, "image/png")}
    if call.mask is not None:
        files["mask"] = ("mask.png", call.mask.png, "image/png")
    form = {name: str(value) for name, value in fields.items()}
    return VendorRequest("/images/edits", form=form, files=files)


def parse_error(response: HttpResponse) -> ImageGenerationError | None:
    """The error, by its code where that says more than the status."""
    told = told_error(response)
    if told is None:
        return None
    message, code = told
    return error_from(response, _TITLE, message, _ERROR_CLASSES.get(str(code)))


VENDOR = Vendor(
    name="openai",
    title=_TITLE,
    base_url="https://api.openai.com/v1",
    domains=(),
    key_setting="OPENAI_API_KEY",
    url_setting="OPENAI_BASE_URL",
    catalog=OPENAI,
    auth=bearer,
    build_request=build_request,
    parse_response=parse_data,
    parse_error=parse_error,
    answers_at_once=True,
)


class OpenAIImagesProvider(HostedProvider):
    """Pictures from OpenAI Images or, by `base_url` (with /v1), a compatible server.

    `job_timeout` is the seconds that one call may take.
    """

    def __init__(
        self,
        api_key: str,
        base_url: str | None = None,
        model: str | None = None,
        *,
        job_timeout: float = JOB_SECONDS,
        load_source: LoadSource | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        super().__init__(
            VENDOR,
            api_key,
            model,
            base_url,
            job_timeout=job_timeout,
            load_source=load_source,
            clock=clock,
            sleep=sleep,
        )
