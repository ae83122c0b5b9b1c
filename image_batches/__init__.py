"""Many requests at once: in order, in threads or other processes, and going on where it was."""

from image_batches.batch import run_batch
from image_batches.progress import BatchCallback, BatchProgress

__all__ = ["BatchCallback", "BatchProgress", "run_batch"]
