"""The answers of /api/jobs: jobs as that list, its filters and its details show them.

Pure over entries of the queue and the history. Shapes and error texts as in the recordings
026_jobs, 026_interrupt and 026_exec_error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfyui.embedded.jobs import HistoryEntry, Job, JobQueue

JobJson = dict[str, Any]

STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")


class BadQuery(ValueError):
    """A query parameter that /api/jobs refuses; the text is the answer's `error`."""


def list_jobs(queue: JobQueue, query: Mapping[str, str]) -> JobJson:
    """The page of jobs that the query asks for.

    Raises BadQuery.
    """
    wanted = _statuses(query.get("status"))
    key, descending = _order(query)
    limit, offset = _limit(query.get("limit")), _offset(query.get("offset"))
    workflow_id = query.get("workflow_id")
    jobs = [
        job
        for job in _all_jobs(queue)
        if job["status"] in wanted and (not workflow_id or job.get("workflow_id") == workflow_id)
    ]
    jobs.sort(key=key, reverse=descending)
    page = jobs[offset:] if limit is None else jobs[offset : offset + limit]
    pagination = {
        "offset": offset,
        "limit": limit,
        "total": len(jobs),
        "has_more": offset + len(page) < len(jobs),
    }
    return {"jobs": page, "pagination": pagination}


def job_detail(queue: JobQueue, prompt_id: str) -> JobJson | None:
    """One job, with outputs and workflow when it is finished; None when unknown."""
    for status, jobs in (("in_progress", queue.running()), ("pending", queue.waiting())):
        for job in jobs:
            if job.prompt_id == prompt_id:
                return _queued(job, status)
    entry = queue.history_entry(prompt_id)
    if entry is None:
        return None
    _, _, graph, extra_data, _ = entry["prompt"]
    return {
        **_finished(entry),
        "outputs": entry["outputs"],
        "execution_status": entry["status"],
        "workflow": {"prompt": graph, "extra_data": extra_data},
    }


def _all_jobs(queue: JobQueue) -> list[JobJson]:
    jobs = [_queued(job, "pending") for job in queue.waiting()]
    jobs += [_queued(job, "in_progress") for job in queue.running()]
    return jobs + [_finished(entry) for entry in queue.history().values()]


def _queued(job: Job, status: str) -> JobJson:
    return {
        "id": job.prompt_id,
        "status": status,
        "priority": job.number,
        "create_time": job.extra_data["create_time"],
        "outputs_count": 0,
        **_workflow_id(job.extra_data),
    }


def _finished(entry: HistoryEntry) -> JobJson:
    number, prompt_id, _, extra_data, _ = entry["prompt"]
    messages = entry["status"]["messages"]
    last_event, last_data = messages[-1]
    files = [
        (node_id, kind, item)
        for node_id, shown in entry["outputs"].items()
        for kind, items in shown.items()
        for item in items
    ]
    job: JobJson = {
        "id": prompt_id,
        "status": _outcome(last_event),
        "priority": number,
        "create_time": extra_data["create_time"],
        "execution_start_time": messages[0][1]["timestamp"],
        "execution_end_time": last_data["timestamp"],
    }
    if last_event == "execution_error":
        job["execution_error"] = last_data
    job["outputs_count"] = len(files)
    if files:
        node_id, kind, item = next((f for f in files if f[2]["type"] == "output"), files[0])
        job["preview_output"] = {**item, "nodeId": node_id, "mediaType": kind}
    return {**job, **_workflow_id(extra_data)}


def _outcome(last_event: str) -> str:
    outcomes = {"execution_success": "completed", "execution_interrupted": "cancelled"}
    return outcomes.get(last_event, "failed")


def _workflow_id(extra_data: dict[str, Any]) -> JobJson:
    pnginfo = extra_data.get("extra_pnginfo")
    workflow = pnginfo.get("workflow") if isinstance(pnginfo, dict) else None
    found = workflow.get("id") if isinstance(workflow, dict) else None
    return {} if found is None else {"workflow_id": found}


def _statuses(text: str | None) -> tuple[str, ...]:
    if not text:
        return STATUSES
    wanted = tuple(word.strip().lower() for word in text.split(",") if word.strip())
    unknown = [word for word in wanted if word not in STATUSES]
    if unknown:
        raise BadQuery(
            f"Invalid status value(s): {', '.join(unknown)}. Valid values: {', '.join(STATUSES)}"
        )
    return wanted


def _order(query: Mapping[str, str]) -> tuple[Any, bool]:
    sort_by = query.get("sort_by", "created_at").lower()
    if sort_by not in ("created_at", "execution_duration"):
        raise BadQuery("sort_by must be 'created_at' or 'execution_duration'")
    sort_order = query.get("sort_order", "desc").lower()
    if sort_order not in ("asc", "desc"):
        raise BadQuery("sort_order must be 'asc' or 'desc'")
    key = _duration if sort_by == "execution_duration" else _created
    return key, sort_order == "desc"


def _created(job: JobJson) -> int:
    created: int = job["create_time"]
    return created


def _duration(job: JobJson) -> int:
    duration: int = job.get("execution_end_time", 0) - job.get("execution_start_time", 0)
    return duration


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    limit = _integer(text, "limit")
    if limit <= 0:
        raise BadQuery("limit must be a positive integer")
    return limit


def _offset(text: str | None) -> int:
    return 0 if text is None else max(0, _integer(text, "offset"))


def _integer(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise BadQuery(f"{name} must be an integer") from error
