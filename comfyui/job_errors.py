"""How the end of a job is told apart where the contract has one word for it."""

from __future__ import annotations

from image_provider import ProviderUnavailableError


class JobNotAccepted(ProviderUnavailableError):
    """The server certainly does not have the job and will not run it: another one may get it."""
