"""FLUX, whoever serves it: Black Forest Labs, fal, Together or Replicate.

Owns the choice of the host and nothing else; a host's language is in the file of its name.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from hosted_providers import black_forest_labs, fal, replicate, together
from hosted_providers.provider import JOB_SECONDS, HostedProvider
from image_io.source_images import LoadSource

_VENDORS = {
    "bfl": black_forest_labs.VENDOR,
    "fal": fal.VENDOR,
    "together": together.VENDOR,
    "replicate": replicate.VENDOR,
}


class FluxProvider(HostedProvider):
    """FLUX at `host`: "bfl", "fal", "together" or "replicate"; raises ValueError for another.

    `job_timeout` is the seconds that one call may take.
    """

    def __init__(
        self,
        api_key: str,
        host: str = "bfl",
        model: str | None = None,
        base_url: str | None = None,
        *,
        job_timeout: float = JOB_SECONDS,
        load_source: LoadSource | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        if host not in _VENDORS:
            raise ValueError(f"host must be one of {', '.join(_VENDORS)}, not {host!r}")
        super().__init__(
            _VENDORS[host],
            api_key,
            model,
            base_url,
            job_timeout=job_timeout,
            load_source=load_source,
            clock=clock,
            sleep=sleep,
        )
