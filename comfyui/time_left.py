"""How long the pictures of one request will still take, by the pace of the sampling steps.

Owns the estimate. Pure: times in seconds come with what happened. Loading the models is no part of
the pace, since it comes before the first step, and only once.
"""

from __future__ import annotations


class TimeLeft:
    """The estimate for `jobs` jobs that run one after another, each with a fraction from 0 to 1."""

    def __init__(self, jobs: int) -> None:
        self._waiting = jobs - 1
        self._job_seconds: float | None = None
        """What the last job took, without the loading of models."""
        self._forget_job()

    def _forget_job(self) -> None:
        self._began_at: float | None = None
        self._step: tuple[str | None, float] | None = None
        self._first: tuple[float, float] | None = None
        """(time, fraction) of the job as its first step ended."""
        self._step_seconds: float | None = None
        self._pace: float | None = None
        """Seconds for a whole fraction."""
        self._changed_at = 0.0
        self._fraction = 0.0

    def begun(self, now: float) -> None:
        """Takes note that the job runs."""
        if self._began_at is None:
            self._began_at = self._changed_at = now

    def step_done(self, now: float, fraction: float, node_id: str | None, step: float) -> None:
        """Takes note of a sampling step; the same one may be told again."""
        if step <= 0 or (node_id, step) == self._step:
            return
        self._step = node_id, step
        if self._first is None:
            self._first = now, fraction
            return
        began_at, began_with = self._first
        if fraction > began_with and now > began_at:
            self._pace = (now - began_at) / (fraction - began_with)
            self._step_seconds = self._step_seconds or now - began_at

    def moved(self, now: float, fraction: float) -> None:
        """Takes note of how far the job is."""
        if fraction > self._fraction:
            self._fraction, self._changed_at = fraction, now

    def job_done(self, now: float) -> None:
        """Takes note that the job's files are here, and the next one's turn comes."""
        if self._first is not None and self._step_seconds is not None:
            self._job_seconds = now - self._first[0] + self._step_seconds
        elif self._first is not None and self._began_at is not None:  # of one step alone
            self._job_seconds = now - self._began_at
        self._waiting = max(0, self._waiting - 1)
        self._forget_job()

    def seconds(self, now: float) -> float | None:
        """The seconds left for this job and those after it; None while there is no telling."""
        rest = self._rest_of_job(now)
        if rest is None:
            return None
        return rest + self._waiting * self._job_length(now, rest)

    def _rest_of_job(self, now: float) -> float | None:
        if self._pace is not None:
            expected = (1.0 - self._fraction) * self._pace
            return max(0.0, expected - (now - self._changed_at))
        if self._job_seconds is None:
            return None
        passed = 0.0 if self._began_at is None else now - self._began_at
        return max(0.0, self._job_seconds - passed)

    def _job_length(self, now: float, rest: float) -> float:
        """What each of the jobs to come will take: as the last one, else as this one."""
        if self._job_seconds is not None:
            return self._job_seconds
        assert self._first is not None and self._step_seconds is not None
        return now - self._first[0] + self._step_seconds + rest
