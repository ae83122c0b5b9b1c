"""What the tests of the hosted providers share: fixtures of answers, a picture, a callback."""

from __future__ import annotations

import base64
import json
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from image_provider import ProgressUpdate
from tests.key_watch import planted

KEY = planted("1234")
DATA = Path(__file__).parent / "data" / "hosted"


def png(width: int = 8, height: int = 6, color: Any = "red", mode: str = "RGB") -> bytes:
    """A PNG file of one colour."""
    buffer = BytesIO()
    Image.new(mode, (width, height), color).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = png()
PICTURE_BASE64 = base64.b64encode(PICTURE).decode("ascii")


def answers(vendor: str) -> dict[str, Any]:
    """The recorded shapes of a vendor's answers, with IMAGE replaced by a picture."""
    loaded: dict[str, Any] = json.loads(_answers_text(vendor))
    return loaded


@cache
def _answers_text(vendor: str) -> str:
    text = (DATA / f"{vendor}.json").read_text(encoding="utf-8")
    return text.replace('"IMAGE"', json.dumps(PICTURE_BASE64))


def write_png(folder: Path, name: str, **options: Any) -> str:
    """The path of a new PNG file."""
    path = folder / name
    path.write_bytes(png(**options))
    return str(path)


def decoded(text: str) -> Image.Image:
    """The picture in base64 text or a data URI."""
    return Image.open(BytesIO(base64.b64decode(text.partition(",")[2] or text)))


class Progress(list[ProgressUpdate]):
    """A callback that keeps what it is told."""

    def __call__(self, update: ProgressUpdate) -> None:
        self.append(update)

    @property
    def stages(self) -> list[str]:
        """The stages in order, each once in a row."""
        return [
            update.stage
            for before, update in zip([None, *self], self, strict=False)
            if before is None or before.stage != update.stage
        ]
