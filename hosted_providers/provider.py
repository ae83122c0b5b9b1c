"""The flow that all hosted providers share, from a request to pictures in memory.

Owns the order of things: plan → upload larger inputs → send → poll → download at once → result.
What a vendor wants and says is in its own file, where the key may go in `transport.py`. Keeps no
request's state.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from hosted_providers.capabilities import Model
from hosted_providers.common import Call, InputImage, Job, Vendor, request_id
from hosted_providers.planning import DEFAULT_SIDE, Plan, choose_model, make_plan
from hosted_providers.reporting import (
    ProgressReporter,
    add,
    advice,
    conceal,
    make_recipe,
    understood,
)
from hosted_providers.results import Results
from hosted_providers.sizes import FixedSizes, PixelSizes
from hosted_providers.transport import Transport
from hosted_providers.waiting import Pauses
from image_io.formats import inspect_image
from image_io.http import HttpResponse
from image_io.polling import poll_until
from image_io.source_images import LoadSource, source_loader
from image_provider import (
    FEATURES,
    ConfigurationError,
    GenerationFailedError,
    ImageGenerationError,
    ImageGenerationRequest,
    ImageGenerationResult,
    ImageProvider,
    ImageStyle,
    InvalidRequestError,
    ProviderUnavailableError,
)

logger = logging.getLogger(__name__)

JOB_SECONDS = 600.0
"""How long one call may take, its submission included; OpenAI's SDK waits as long."""

_STYLE_SIZES: dict[ImageStyle | None, tuple[int, int]] = {
    ImageStyle.CINEMATIC: (1344, 768),
    ImageStyle.PORTRAIT: (832, 1216),
}


@dataclass
class _Work:
    """What one generation has so far; it outlives a failure."""

    plan: Plan | None = None
    images: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def metadata(self) -> dict[str, Any]:
        """What the result tells beside its pictures."""
        told: dict[str, Any] = {"ignored": list(self.plan.ignored) if self.plan else []}
        if self.plan is not None and self.plan.adjusted:
            told["adjusted"] = list(self.plan.adjusted)
        if self.plan is not None and self.plan.size is not None:
            told["size"] = self.plan.size
        if self.calls:
            told["request_id"] = self.calls[0]["request_id"]
            told["calls"] = self.calls
        return {**told, **self.notes}


class HostedProvider(ImageProvider):
    """A provider behind a vendor's HTTP API; `model` None takes the vendor's default per task.

    `load_source` fetches source images; unless given, by the settings IMAGE_SOURCE_*.
    """

    def __init__(
        self,
        vendor: Vendor,
        api_key: str,
        model: str | None,
        base_url: str | None,
        *,
        job_timeout: float = JOB_SECONDS,
        load_source: LoadSource | None = None,
        clock: Callable[[], float],
        sleep: Callable[[float], object] | None,
    ) -> None:
        if not isinstance(api_key, str):
            raise TypeError(f"api_key must be a str, not {type(api_key).__name__}")
        if not api_key.strip():
            raise ConfigurationError(f"{vendor.title}: the key is empty; set {vendor.key_setting}")
        if not (api_key.isascii() and api_key.strip().isprintable()):
            raise ConfigurationError(
                f"{vendor.title}: the key has a character that no header can carry, such as a line "
                f"break; check {vendor.key_setting}"
            )
        self.provider_name = vendor.name
        self.model = model or vendor.catalog.text
        self._configured_model = model
        self._vendor = vendor
        self._load_source = load_source or source_loader()
        if not 0 < job_timeout < math.inf:
            raise ValueError(f"job_timeout must be a number of seconds above 0, not {job_timeout}")
        self._job_timeout = job_timeout
        answer_seconds = job_timeout if vendor.answers_at_once else vendor.read_timeout
        self._pauses = Pauses(sleep)
        wait = self._pauses.sleep
        self._transport = Transport(vendor, api_key.strip(), base_url, answer_seconds, wait)
        self._results = Results(vendor, self._transport, clock, wait)
        self._clock = clock

    def generate(self, request: ImageGenerationRequest) -> ImageGenerationResult:
        """The pictures, or a result that says why there are none."""
        if not isinstance(request, ImageGenerationRequest):
            raise TypeError(
                f"request must be an ImageGenerationRequest, not {type(request).__name__}"
            )
        work = _Work()
        failure: ImageGenerationError | None = None
        try:
            work.plan = make_plan(
                self._vendor.catalog, self._configured_model, request, self._load_source
            )
            self._report_plan(work.plan, request)
            with self._pauses.at_work():
                self._run(work, work.plan, request)
        except ImageGenerationError as error:
            self._explain(error, request, work)
            failure = error
        return self._result(request, work, failure)

    def _explain(
        self, error: ImageGenerationError, request: ImageGenerationRequest, work: _Work
    ) -> None:
        """Completes an error: who, what to do next, and none of the prompt."""
        error.provider = self.provider_name
        conceal(error, (request.prompt, request.negative_prompt))
        model = work.plan.model.id if work.plan is not None else None
        next_step = advice(error, self._vendor, model)
        if next_step is not None:
            add(error, next_step)
        if error.request_id is not None and not work.calls:
            work.notes["request_id"] = error.request_id

    def _report_plan(self, plan: Plan, request: ImageGenerationRequest) -> None:
        name = self.provider_name
        for entry in plan.ignored:
            level = _level(entry["parameter"], request)
            logger.log(level, "%s ignores %s: %s", name, entry["parameter"], entry["reason"])
        for note in plan.adjusted:
            logger.log(
                _level(note["parameter"], request),
                "%s takes %s %s for %s, the nearest that %s allows",
                name,
                note["parameter"],
                note["used"],
                note["asked"],
                plan.model.id,
            )
        if plan.model.shutdown is not None:
            logger.warning(
                "%s: the vendor's shutdown date of %s is %s; the default model is %s",
                name,
                plan.model.id,
                plan.model.shutdown,
                self._vendor.catalog.text,
            )

    def _run(self, work: _Work, plan: Plan, request: ImageGenerationRequest) -> None:
        progress = ProgressReporter(request.on_progress, len(plan.calls))
        # Every call has the same pictures: they are uploaded once.
        source, mask = (self._upload(image) for image in (plan.calls[0].source, plan.calls[0].mask))
        for call in plan.calls:
            self._pauses.check()
            self._one_call(replace(call, source=source, mask=mask), work, progress)
            progress.next_call()
        if not work.images:
            raise GenerationFailedError(f"{self._vendor.title} answered without a picture")
        missing = request.num_images - len(work.images)
        if missing > 0:
            work.notes["missing_images"] = missing
            logger.warning("%s: %d image(s) were held back", self.provider_name, missing)
        progress.report("done", 1.0)

    def _result(
        self, request: ImageGenerationRequest, work: _Work, failure: ImageGenerationError | None
    ) -> ImageGenerationResult:
        model = work.plan.model.id if work.plan is not None else request.model or self.model
        if failure is not None:
            if work.images:
                work.notes["finished"] = len(work.images)
            result = ImageGenerationResult.failed(
                failure, self.provider_name, model, work.metadata()
            )
        else:
            result = ImageGenerationResult(
                True, [], self.provider_name, model, metadata=work.metadata()
            )
        for number, image in enumerate(work.images, start=1):
            suffix = inspect_image(image["bytes"]).suffix
            image["filename"] = f"{self.provider_name}-{number:02}{suffix}"
        result.images = work.images  # those of a failed one that were finished, too
        result.recipe = make_recipe(self.provider_name, model, request, work.images)
        logger.info(
            "%s: %d image(s), %s",
            self.provider_name,
            len(work.images),
            result.error_type or "ok",
        )
        return result

    def _one_call(self, call: Call, work: _Work, progress: ProgressReporter) -> None:
        progress.report("queued", 0.0)
        if self._vendor.answers_at_once:
            progress.report("running", 0.0)
        deadline = self._clock() + self._job_timeout
        response = self._transport.send(self._vendor.build_request(call))
        job = self._parse(response, None)
        record = {"id": job.id, "request_id": request_id(response) or job.id}
        # From here on it costs something, whatever becomes of it.
        work.calls.append({**record, "usage": dict(job.usage)})
        try:
            if job.images is None:
                job = self._wait(job, deadline, progress)
                work.calls[-1]["usage"] |= job.usage
            progress.report("downloading", 0.95)
            self._results.collect(job.images or (), call, work.images)
        except ImageGenerationError as error:
            error.request_id = error.request_id or record["request_id"]
            raise

    def _upload(self, image: InputImage | None) -> InputImage | None:
        vendor = self._vendor
        if image is None or vendor.upload_above is None or len(image.png) <= vendor.upload_above:
            return image
        assert vendor.build_upload is not None and vendor.parse_upload is not None
        response = self._transport.send(vendor.build_upload(image.png))
        with understood(vendor.title):
            return replace(image, url=vendor.parse_upload(response.json()))

    def _parse(self, response: HttpResponse, job: Job | None) -> Job:
        body = response.json()
        told = {
            name: response.headers[header]
            for header, name in self._vendor.usage_headers.items()
            if header in response.headers
        }
        # A question can be asked again, a submission cannot.
        with understood(self._vendor.title, retryable=job is not None):
            answer = self._vendor.parse_response(body, job)
            return replace(answer, usage={**dict(answer.usage), **told})

    def _wait(self, job: Job, deadline: float, progress: ProgressReporter) -> Job:
        """Polls until the job has pictures; a job that is given up is cancelled at the vendor."""

        def ask() -> Job:
            nonlocal job
            assert job.poll_url is not None
            try:
                job = self._parse(self._transport.ask(job.poll_url), job)
            except InvalidRequestError as error:
                if error.status != 404:
                    raise
                told = f"{self._vendor.title} no longer knows job {job.id}"
                raise ProviderUnavailableError(told, status=404, retryable=False) from error
            except ImageGenerationError as error:
                if job.failure is None or error.status is None or not error.retryable:
                    raise
                # The answer at the result's URL is that of the job that failed.
                raise GenerationFailedError(
                    f"{self._vendor.title}: the generation failed: {job.failure}",
                    detail=job.failure,
                ) from error
            progress.report(job.stage, 0.9 * job.fraction, job.queue_position)
            return job

        try:
            return poll_until(
                ask,
                deadline,
                is_done=lambda answer: answer.images is not None,
                clock=self._clock,
                sleep=self._pauses.sleep,
            )
        except ImageGenerationError as error:
            if not (error.retryable or self._pauses.cancelled):  # the job itself has ended
                raise
            self._cancel(job)
            message = (
                f"{self._vendor.title}: job {job.id} was given up while it was {job.stage}: {error}"
            )
            raise replace(error, message=message, request_id=job.id) from error
        except KeyboardInterrupt:
            self._cancel(job)
            raise

    def _cancel(self, job: Job) -> None:
        if self._vendor.cancel_method is not None and job.cancel_url is not None:
            self._transport.cancel(job.cancel_url)

    def get_supported_features(self) -> dict[str, bool]:
        """By the configured model, or by the vendor's default models together."""
        models = self._models_in_use()
        has = {
            "img2img": any(model.takes("source") for model in models),
            "inpainting": any(model.takes("mask") for model in models),
            "seeds": models[0].takes("seed"),
            "negative_prompts": models[0].takes("negative_prompt"),
        }
        return {feature: has.get(feature, False) for feature in FEATURES}

    def _models_in_use(self) -> Sequence[Model]:
        """The model for text first, then those that take its place for other tasks."""
        catalog = self._vendor.catalog
        if self._configured_model is not None:
            ids = [self._configured_model]
        else:
            ids = [name for name in (catalog.text, catalog.strength, catalog.mask) if name]
        models = [catalog.find(name) for name in ids]
        return [*models, *(catalog.find(model.edit_model) for model in models if model.edit_model)]

    def get_default_parameters(self, style: ImageStyle | None = None) -> dict[str, Any]:
        """A width and height (pixels) that suit the style and that the model can make."""
        size = _STYLE_SIZES.get(style, (DEFAULT_SIDE, DEFAULT_SIDE))
        rule = self._models_in_use()[0].sizes
        if isinstance(rule, (PixelSizes, FixedSizes)):
            size = rule.nearest(*size)
        return {"width": size[0], "height": size[1]}

    def cache_identity(self, request: ImageGenerationRequest) -> dict[str, str | None]:
        """Provider, the model that the request gets, and the host if it is not the vendor's own."""
        model, host = request.model or self.model, self._transport.base_url
        with suppress(ImageGenerationError):  # `generate` tells what is wrong with it
            model = choose_model(self._vendor.catalog, self._configured_model, request).id
        own = host == self._vendor.base_url
        return {"provider": self.provider_name, "model": model, "host": None if own else host}

    def cancel_work_of(self, threads: Collection[threading.Thread]) -> None:
        """Cancels what these threads wait for, at the vendor too where it takes that.

        A request that is on its way is answered first.
        """
        self._pauses.cancel(threads)

    def close(self) -> None:
        """Closes idle connections; a later request opens one anew."""
        self._transport.close()

    def __reduce__(self) -> Any:
        if self.rebuild is None:
            raise TypeError(
                f"{self.provider_name} was built with a key of its own, and keys do not go into a "
                f"pickle; set {self._vendor.key_setting} and let the other process build it"
            )
        return self.rebuild

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.provider_name}, model={self.model!r})"


def _level(parameter: str, request: ImageGenerationRequest) -> int:
    """What the caller gave is worth a warning; what a template filled in is not."""
    return logging.DEBUG if parameter in request.from_template else logging.WARNING
