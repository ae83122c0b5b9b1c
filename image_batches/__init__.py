"""Many requests at once: in order, in threads or other processes, and going on where it was."""

from image_batches.batch import BatchCallback, BatchProgress, run_batch

__all__ = ["BatchCallback", "BatchProgress", "run_batch"]
