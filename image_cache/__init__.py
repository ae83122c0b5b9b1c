"""Results on disk: images as ordinary files beside a small JSON, one folder a result."""

from image_cache.cache import ImageCache, cache_entry, cache_key
from image_cache.entry import StoredResult
from image_cache.parts import request_parts

__all__ = ["ImageCache", "StoredResult", "cache_entry", "cache_key", "request_parts"]
