"""From the pictures that a vendor names to pictures in memory.

Owns the download, which is asked for again while its host is away or the file comes cut, and the
dict that describes one picture. Knows no order of things (`provider.py` does) and no single vendor.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Any

from hosted_providers.common import Call, Vendor, VendorImage
from hosted_providers.reporting import understood
from hosted_providers.transport import Transport
from image_io.formats import ImageFile, TruncatedImageError, inspect_image, verify_image
from image_io.polling import poll_until
from image_provider import GenerationFailedError, ImageGenerationError, ProviderUnavailableError

DOWNLOAD_SECONDS = 180.0


class Results:
    """Fetches what one vendor hands out; keeps nothing."""

    def __init__(
        self,
        vendor: Vendor,
        transport: Transport,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
    ) -> None:
        self._title = vendor.title
        self._transport = transport
        self._clock = clock
        self._sleep = sleep

    def collect(
        self, images: Iterable[VendorImage], call: Call, into: list[dict[str, Any]]
    ) -> None:
        """Adds every picture that can be had to `into`, and then raises what the first other met.

        All of them are paid for, so one that is lost does not take the others with it.
        """
        failures: list[ImageGenerationError] = []
        for image in images:
            try:
                into.append(self._described(image, call))
            except ImageGenerationError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _described(self, image: VendorImage, call: Call) -> dict[str, Any]:
        data = self._bytes_of(image)
        info = self._checked(data)
        details = {
            "bytes": data,
            "url": image.url if image.url and not image.url.startswith("data:") else None,
            # What the vendor tells is what it used; a batch has the seed of its call.
            "seed": image.seed if isinstance(image.seed, int) else call.seed,
            "mime_type": info.mime_type,
            "width": info.width,
            "height": info.height,
        }
        revised = image.revised_prompt
        if revised and isinstance(revised, str) and revised != call.prompt:
            details["revised_prompt"] = revised
        return details

    def _checked(self, data: bytes) -> ImageFile:
        info = inspect_image(data)
        if not info.is_image:
            raise GenerationFailedError(
                f"{self._title} gave a file that is no picture ({info.mime_type})"
            )
        try:
            verify_image(data)
        except TruncatedImageError as error:
            raise ProviderUnavailableError(
                f"{self._title}: the picture did not come whole: {error}"
            ) from error
        return info

    def _bytes_of(self, image: VendorImage) -> bytes:
        with understood(self._title):
            if image.base64 is not None:
                return base64.b64decode(image.base64, validate=True)
            if image.url is None:
                raise ValueError("a picture without data and URL")
            if image.url.startswith("data:"):
                return base64.b64decode(image.url.partition(",")[2], validate=True)
        return self._download(image.url)

    def _download(self, url: str) -> bytes:
        def whole() -> bytes:
            data = self._transport.download(url)
            self._checked(data)
            return data

        return poll_until(
            whole,
            self._clock() + DOWNLOAD_SECONDS,
            is_done=lambda data: True,
            clock=self._clock,
            sleep=self._sleep,
        )
