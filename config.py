"""The settings, by the name that applications import them by: `from config import Config`.

The code is in `image_config.py`, which the library itself goes by: an application that has a
`config.py` of its own, as web applications do, takes this name for it.
"""

from image_config import FLUX_HOSTS, PREVIEW_METHODS, SETTINGS, Config, Setting

__all__ = ["FLUX_HOSTS", "PREVIEW_METHODS", "SETTINGS", "Config", "Setting"]
