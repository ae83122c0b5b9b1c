"""Answers of the five vendors: whole generations that meet them, and errors that repeat the key."""

from __future__ import annotations

import base64
import json
from functools import partial
from io import BytesIO
from typing import Any

import requests
from urllib3 import HTTPResponse

from hosted_providers.common import Vendor
from hosted_providers.provider import HostedProvider
from hosted_providers.reporting import understood
from hosted_providers.table import VENDORS
from image_io.http import HttpSession
from image_provider import ImageGenerationRequest, ProgressUpdate
from tests.fuzzing import seeds
from tests.fuzzing.target import SECRET, NotJson, Target, as_json, parsed

MOST_ANSWERS = 60
"""Requests of one generation; one that sends more does not end."""
_FILES = {vendor.name: vendor.name.removeprefix("flux_") for vendor in VENDORS} | {
    "flux_bfl": "black_forest_labs"
}
_STATUSES = (400, 401, 402, 403, 404, 408, 422, 429, 500, 503)


class _Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """No pause is negative, and none is without an end."""
        assert 0 <= seconds < 3600
        self.now += max(seconds, 0.01)


class _Script(requests.adapters.HTTPAdapter):
    """Gives the answers of a list one by one, the last one from then on; a picture for its URL."""

    def __init__(self, answers: list[Any]) -> None:
        super().__init__()
        try:  # here, where the stack is as low as when they were read
            self._answers = [_parts(answers, number) for number in range(len(answers) or 1)]
        except RecursionError as error:
            raise NotJson from error
        self._sent = 0

    def send(self, request: Any, *args: Any, **options: Any) -> requests.Response:
        """The next answer, read as if it had come over a socket."""
        if request.path_url.split("?")[0].endswith(".png"):
            return self._answer(request, 200, {}, seeds.png())
        self._sent += 1
        assert self._sent <= MOST_ANSWERS, "it asks on and on"
        status, headers, body = self._answers[min(self._sent, len(self._answers)) - 1]
        return self._answer(request, status, headers, body)

    def _answer(
        self, request: Any, status: int, headers: dict[str, str], body: bytes
    ) -> requests.Response:
        raw = HTTPResponse(BytesIO(body), headers, status, preload_content=False)
        return self.build_response(request, raw)


def _parts(answers: list[Any], number: int) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an entry [status, headers, body], whatever became of it."""
    entry = answers[number] if answers else None
    status, headers, body = entry if isinstance(entry, list) and len(entry) == 3 else (0, {}, entry)
    usable = isinstance(status, int) and 200 <= status <= 599
    told = headers.items() if isinstance(headers, dict) else ()
    return (
        status if usable else 200,
        {name: str(value).encode("latin-1", "ignore").decode("latin-1") for name, value in told},
        json.dumps(body).encode("ascii"),
    )


def _generate(vendor: Vendor, data: bytes) -> None:
    """A generation raises nothing, whatever the vendor answers."""
    answers = parsed(data)
    script = _Script(answers if isinstance(answers, list) else [answers])
    clock = _Clock()
    provider = HostedProvider(
        vendor, SECRET, None, None, job_timeout=60, clock=clock, sleep=clock.sleep
    )
    transport = provider._transport
    for session in (*transport._keyed.values(), transport._public, transport._configured):
        _mount(session, script)
    make = transport._keyed_session
    transport._keyed_session = lambda base_url: _mount(make(base_url), script)  # type: ignore[method-assign]
    told: list[ProgressUpdate] = []
    try:
        result = provider.generate(
            ImageGenerationRequest("a red fox in the snow", seed=4, on_progress=told.append)
        )
    finally:
        provider.close()
    assert result.success or (result.error and result.error_type)
    assert SECRET not in (result.error or "")
    assert all(0 <= update.fraction <= 1 for update in told)
    json.dumps(result.metadata)


def _mount(session: HttpSession, script: _Script) -> HttpSession:
    for scheme in ("http://", "https://"):
        session._session.mount(scheme, script)
    return session


def _uploaded(vendor: Vendor, data: bytes) -> None:
    assert vendor.parse_upload is not None
    with understood(vendor.title):
        vendor.parse_upload(parsed(data))


def _conversations(vendor: Vendor) -> list[bytes]:
    """A job that ends well, ones that fail on the way, and each of the other answers at once."""
    text = json.dumps(seeds.read(f"hosted/{_FILES[vendor.name]}.json"))
    told = json.loads(text.replace("IMAGE", base64.b64encode(seeds.png()).decode("ascii")))
    told.pop("source")
    told.pop("uploaded", None)
    if "starting" in told:  # Replicate repeats the job in each answer
        told = {
            name: {**told["starting"], **body} if "status" in body else body
            for name, body in told.items()
        }
    first = next(iter(told))
    fine = [200, {"x-request-id": "r1", "retry-after": "1"}, None]
    begun = [[*fine[:2], told[name]] for name in told if name in (first, "pending", "in_queue")]
    ends = [*fine[:2]]
    completed = [[*ends, told["completed"]], [*ends, told["result"]]] if "result" in told else []
    found: list[Any] = [[*begun, *completed]]
    for name, body in told.items():
        found.append([*begun, [*ends, body]])
        status = next((each for each in _STATUSES if str(each) in name), 400)
        error = [status, {"retry-after": "2", "x-request-id": SECRET[:4]}, body]
        found += [[error], [*begun, error]]
    found.append([[401, {}, {"error": {"message": f"wrong key {SECRET}"}, "detail": SECRET}]])
    return as_json(*found)


def _uploads(vendor: Vendor) -> list[bytes]:
    return as_json(seeds.read(f"hosted/{_FILES[vendor.name]}.json")["uploaded"])


TARGETS = (
    *(
        Target(
            f"hosted_{vendor.name}",
            partial(_generate, vendor),
            partial(_conversations, vendor),
            (),
        )
        for vendor in VENDORS
    ),
    *(
        Target(
            f"hosted_{vendor.name}_upload", partial(_uploaded, vendor), partial(_uploads, vendor)
        )
        for vendor in VENDORS
        if vendor.parse_upload is not None
    ),
)
