"""What every vendor file is written in: one call, the HTTP request it becomes, the job it starts.

Owns these values and the small helpers that several vendors share (payload fields, errors from
responses). Pure: sends nothing, waits for nothing (`provider.py` does), knows no single vendor.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hosted_providers.capabilities import Catalog, Model
from image_io.http import HttpResponse, error_for_status, retry_after
from image_provider import ImageGenerationError, ProviderUnavailableError, RateLimitedError


@dataclass(frozen=True)
class InputImage:
    """A source or mask as a PNG file, with its URL when it was uploaded to the vendor."""

    png: bytes = field(repr=False)
    url: str | None = None

    @property
    def base64(self) -> str:
        """The file as base64 text."""
        return base64.b64encode(self.png).decode("ascii")

    @property
    def reference(self) -> str:
        """The uploaded file's URL, else a data URI."""
        return self.url or f"data:image/png;base64,{self.base64}"


@dataclass(frozen=True)
class Call:
    """One call to a vendor: what a request asks of it, less all that its model does not take.

    `size` is width and height in pixels, `aspect_ratio` as in "16:9"; a call has at most one.
    `options` are fields under the vendor's own names.
    """

    model: Model
    prompt: str
    count: int = 1
    size: tuple[int, int] | None = None
    aspect_ratio: str | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    strength: float | None = None
    source: InputImage | None = None
    mask: InputImage | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class VendorRequest:
    """A POST to a vendor: a path below its base URL, and JSON or a multipart form."""

    path: str
    json_body: Mapping[str, Any] | None = None
    form: Mapping[str, str] | None = None
    files: Mapping[str, tuple[str, bytes, str]] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class VendorImage:
    """A picture as a vendor hands it out: base64 text, or a URL."""

    base64: str | None = field(default=None, repr=False)
    url: str | None = None
    seed: int | None = None
    revised_prompt: str | None = None

    def __post_init__(self) -> None:
        _check_texts(self.base64, self.url)


@dataclass(frozen=True)
class Job:
    """A job as the vendor's last answer tells it; `images` is None while it runs.

    `poll_url` is what to ask next; `result_url` what to ask once it has finished, where a vendor
    keeps that apart. `failure` is what a vendor said went wrong that tells more at `result_url`.
    """

    id: str | None = None
    poll_url: str | None = None
    result_url: str | None = None
    cancel_url: str | None = None
    stage: str = "queued"
    fraction: float = 0.0
    queue_position: int | None = None
    images: tuple[VendorImage, ...] | None = None
    failure: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_texts(self.poll_url, self.result_url, self.cancel_url)
        if self.images is None and not self.poll_url:
            raise ValueError("a job without pictures and without a URL to ask for them")


def _check_texts(*values: object) -> None:
    """Raises TypeError where an answer holds something else, so that it is told on reading."""
    for value in values:
        if not isinstance(value, (str, type(None))):
            raise TypeError(f"{type(value).__name__} where a text was expected")


@dataclass(frozen=True)
class Vendor:
    """One vendor: where it is, its models, and the pure functions that speak its language.

    `key_setting` and `url_setting` are the settings of its key and of a URL in place of its own.
    `parse_response` reads any answer: `job` is None for the first one, else what was known before.
    It raises ImageGenerationError for a job that failed. `domains` are those of the vendor's own
    polling hosts. One answer may take `read_timeout` seconds; one of a vendor that
    `answers_at_once` has no job beside it and may take as long as a job. Inputs above
    `upload_above` bytes go through `build_upload` first. `usage_headers` are response headers that
    tell what a call costs, with the name that each has in a result's usage.
    """

    name: str
    title: str
    base_url: str
    domains: tuple[str, ...]
    key_setting: str
    url_setting: str
    catalog: Catalog
    auth: Callable[[str], Mapping[str, str]]
    build_request: Callable[[Call], VendorRequest]
    parse_response: Callable[[Any, Job | None], Job]
    parse_error: Callable[[HttpResponse], ImageGenerationError | None]
    answers_at_once: bool = False
    read_timeout: float = 60.0
    cancel_method: str | None = None
    upload_above: int | None = None
    build_upload: Callable[[bytes], VendorRequest] | None = None
    parse_upload: Callable[[Any], str] | None = None
    usage_headers: Mapping[str, str] = field(default_factory=dict)


def payload(call: Call, encode: Callable[[InputImage], str]) -> dict[str, Any]:
    """The prompt and all that the call has, under the model's names; sizes are the vendor's own."""
    model = call.model
    values: dict[str, Any] = {
        "negative_prompt": call.negative_prompt,
        "seed": call.seed,
        "steps": call.steps,
        "guidance_scale": call.guidance_scale,
        "strength": call.strength,
        "source": None if call.source is None else encode(call.source),
        "mask": None if call.mask is None else encode(call.mask),
        "count": call.count,
        "format": model.formats[0],
    }
    body: dict[str, Any] = {"prompt": call.prompt}
    for parameter, name in model.fields.items():
        value = values[parameter]
        if value is not None:
            body[name.removesuffix("[]")] = [value] if name.endswith("[]") else value
    seeded = model.seeded if call.seed is not None else {}
    return {**body, **model.constants, **seeded, **call.options}


def parse_data(body: Any, job: Job | None = None) -> Job:
    """The pictures of {"data": [...]}, the answer that OpenAI began; no job is to be waited for."""
    images = tuple(
        VendorImage(
            base64=item.get("b64_json"),
            url=item.get("url"),
            revised_prompt=item.get("revised_prompt"),
        )
        for item in body["data"]
    )
    usage = body.get("usage") or {}
    return Job(id=body.get("id"), stage="done", fraction=1.0, images=images, usage=usage)


def told_error(response: HttpResponse) -> tuple[str, Any] | None:
    """Message and code of {"error": {message, type, param, code}}; None for any other answer.

    Compatible servers also write {"error": text} or FastAPI's {"detail": ...}.
    """
    body = response.json_or_none()
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    if not isinstance(error, dict):
        message = error if isinstance(error, str) else validation_message(body.get("detail"))
        return (message, None) if message else None
    code, param = error.get("code"), error.get("param")
    message = error.get("message") or code
    return (f"{message}{f' (parameter {param})' if param else ''}", code) if message else None


def bearer(key: str) -> dict[str, str]:
    """The Authorization header most vendors want."""
    return {"Authorization": f"Bearer {key}"}


def error_from(
    response: HttpResponse,
    title: str,
    message: str,
    error_class: type[ImageGenerationError] | None = None,
) -> ImageGenerationError:
    """The vendor's own message as the error that the status stands for, or as `error_class`."""
    chosen = error_class or type(error_for_status(response, title))
    details: dict[str, Any] = {"status": response.status, "request_id": request_id(response)}
    if issubclass(chosen, (RateLimitedError, ProviderUnavailableError)):
        details["retry_after"] = retry_after(response)
    return chosen(f"{title} answered {response.status}: {message}", **details)


def request_id(response: HttpResponse) -> str | None:
    """The id to name in a question to the vendor's support."""
    names = ("x-request-id", "x-fal-request-id", "x-trace-id", "cf-ray")
    return next((response.headers[name] for name in names if name in response.headers), None)


def validation_message(detail: Any) -> str | None:
    """The text of FastAPI's `detail`: a string, or a list of {loc, msg}; None for anything else."""
    if isinstance(detail, str):
        return detail
    if not isinstance(detail, list):
        return None
    problems = [problem for problem in detail if isinstance(problem, dict)]
    return "; ".join(
        f"{'.'.join(str(part) for part in problem.get('loc') or ())}: {problem.get('msg')}"
        for problem in problems
    )
