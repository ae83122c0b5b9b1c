"""Errors after which it is certain that a server has no job: another one may be given it.

They are told apart within `comfyui/` alone; for callers they are what they derive from.
"""

from __future__ import annotations

from image_provider import ProviderUnavailableError, RateLimitedError


class JobNotAccepted(ProviderUnavailableError):
    """Nobody listened, or a proxy said 503, and the server does not have the job."""


class JobTurnedAway(RateLimitedError):
    """A proxy said 429, and the server does not have the job."""


NOT_ACCEPTED = (JobNotAccepted, JobTurnedAway)
