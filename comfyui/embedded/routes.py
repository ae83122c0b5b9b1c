"""The HTTP routes about prompts, queue, history, jobs and what the server has.

Each route exists twice, as /x and as /api/x, as in ComfyUI. Owns status codes and JSON of the
answers; the decisions are made in validation, jobs and job_views.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from typing import Any

from aiohttp import web

from comfyui.embedded import job_views
from comfyui.embedded.execution import Workshop
from comfyui.embedded.hub import SERVER_FEATURES
from comfyui.embedded.options import COMFYUI_VERSION, SELF_DESCRIPTION
from comfyui.embedded.validation import validate_prompt

MODEL_FOLDERS = (
    "checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision",
    "style_models", "embeddings", "diffusers", "vae_approx", "controlnet", "gligen",
    "upscale_models", "latent_upscale_models", "custom_nodes", "hypernetworks", "photomaker",
    "classifiers", "model_patches", "audio_encoders", "background_removal",
    "frame_interpolation", "geometry_estimation", "optical_flow", "detection",
)  # fmt: skip
"""Folders that /models lists, in its order (026_gets)."""

_SECRET_KEYS = ("auth_token_comfy_org", "api_key_comfy_org")
_BAD_ID = {
    "type": "invalid_prompt_id",
    "message": "prompt_id must be a valid UUID",
    "details": (
        "prompt_id must be a UUID string in canonical lowercase hyphenated form; "
        "omit it to let the server generate one"
    ),
    "extra_info": {},
}
_NO_PROMPT = {
    "type": "no_prompt",
    "message": "No prompt provided",
    "details": "No prompt provided",
    "extra_info": {},
}


class Api:
    """The handlers; one instance a server."""

    def __init__(self, shop: Workshop, argv: list[str]) -> None:
        self._shop = shop
        self._argv = argv
        self._next_number = 0

    def routes(self) -> list[web.RouteDef]:
        """All routes of this module, without their /api twins."""
        return [
            web.get("/", self.root),
            web.get("/ws", self.websocket),
            web.get("/prompt", self.get_prompt),
            web.post("/prompt", self.post_prompt),
            web.get("/queue", self.get_queue),
            web.post("/queue", self.post_queue),
            web.post("/interrupt", self.interrupt),
            web.post("/free", self.free),
            web.get("/history", self.get_history),
            web.post("/history", self.post_history),
            web.get("/history/{prompt_id}", self.get_history_entry),
            web.get("/object_info", self.object_info),
            web.get("/object_info/{node_class}", self.object_info_of_class),
            web.get("/node_replacements", self.node_replacements),
            web.get("/system_stats", self.system_stats),
            web.get("/features", self.features),
            web.get("/embeddings", self.embeddings),
            web.get("/models", self.model_folders),
            web.get("/models/{folder}", self.models),
            web.get("/api/jobs", self.jobs),
            web.post("/api/jobs/cancel", self.cancel_jobs),
            web.get("/api/jobs/{job_id}", self.job),
            web.post("/api/jobs/{job_id}/cancel", self.cancel_job),
        ]

    async def root(self, request: web.Request) -> web.Response:
        """Tell a browser what this is."""
        text = f"{SELF_DESCRIPTION}.\nIt speaks the protocol of ComfyUI {COMFYUI_VERSION}.\n"
        return web.Response(text=text)

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        """/ws"""
        return await self._shop.hub.serve_socket(request, queue_status(self._shop))

    async def get_prompt(self, request: web.Request) -> web.Response:
        """How many jobs are left."""
        return web.json_response(queue_status(self._shop))

    async def post_prompt(self, request: web.Request) -> web.Response:
        """Validate a graph and queue it."""
        self._shop.stats.posts += 1
        body = await request.json()
        number = self._number(body)
        if "prompt" not in body:
            return _refuse(_NO_PROMPT)
        prompt_id = body.get("prompt_id")
        if prompt_id is None:
            prompt_id = str(uuid.uuid4())
        elif not _is_canonical_uuid(prompt_id):
            return _refuse(_BAD_ID)
        graph = body["prompt"]
        shop = self._shop
        targets = body.get("partial_execution_targets")
        verdict = validate_prompt(graph, shop.catalog, shop.folders.input_exists, targets)
        if verdict.error is not None:
            return _refuse(verdict.error, verdict.node_errors)
        shop.queue.put(number, prompt_id, graph, _extra_data(body), verdict.outputs)
        answer = {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}
        return web.json_response(answer)

    async def get_queue(self, request: web.Request) -> web.Response:
        """Running and waiting jobs."""
        queue = self._shop.queue
        return web.json_response(
            {
                "queue_running": [job.entry() for job in queue.running()],
                "queue_pending": [job.entry() for job in queue.waiting()],
            }
        )

    async def post_queue(self, request: web.Request) -> web.Response:
        """Delete waiting jobs."""
        body = await request.json()
        if body.get("clear"):
            self._shop.queue.clear()
        for prompt_id in body.get("delete", ()):
            self._shop.queue.delete(prompt_id)
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.Response:
        """Interrupt the running job, or one job if it is the running one."""
        try:
            body = await request.json()
        except json.JSONDecodeError:
            body = {}
        self._shop.queue.interrupt(body.get("prompt_id") or None)
        return web.Response()

    async def free(self, request: web.Request) -> web.Response:
        """Forget cached results when asked to free memory."""
        body = await request.json()
        if body.get("free_memory"):
            self._shop.queue.forget_cache()
        return web.Response()

    async def get_history(self, request: web.Request) -> web.Response:
        """Finished jobs, oldest first."""
        max_items = request.query.get("max_items")
        offset = int(request.query.get("offset", -1))
        limit = None if max_items is None else int(max_items)
        return web.json_response(self._shop.queue.history(limit, offset))

    async def get_history_entry(self, request: web.Request) -> web.Response:
        """One finished job, {} when there is none of that id."""
        prompt_id = request.match_info["prompt_id"]
        entry = self._shop.queue.history_entry(prompt_id)
        return web.json_response({} if entry is None else {prompt_id: entry})

    async def post_history(self, request: web.Request) -> web.Response:
        """Forget finished jobs."""
        body = await request.json()
        if body.get("clear"):
            self._shop.queue.clear_history()
        for prompt_id in body.get("delete", ()):
            self._shop.queue.delete_history(prompt_id)
        return web.Response()

    async def object_info(self, request: web.Request) -> web.Response:
        """Every node type."""
        return web.json_response(self._shop.catalog.all_object_info())

    async def object_info_of_class(self, request: web.Request) -> web.Response:
        """One node type, {} when unknown."""
        name, catalog = request.match_info["node_class"], self._shop.catalog
        return web.json_response({name: catalog.object_info(name)} if name in catalog else {})

    async def node_replacements(self, request: web.Request) -> web.Response:
        """No node type: every one of this server's is there under its own name."""
        return web.json_response({})

    async def system_stats(self, request: web.Request) -> web.Response:
        """What runs here; `embedded` and `argv` tell it from a real ComfyUI."""
        system: dict[str, Any] = {
            "os": sys.platform,
            "ram_total": 0,
            "ram_free": 0,
            "comfyui_version": COMFYUI_VERSION,
            "required_frontend_version": None,
            "installed_templates_version": None,
            "required_templates_version": None,
            "comfy_package_versions": [],
            "python_version": sys.version,
            "pytorch_version": "none",
            "embedded_python": False,
            "deploy_environment": "embedded",
            "argv": self._argv,
            "embedded": True,
        }
        memory = ("vram_total", "vram_free", "torch_vram_total", "torch_vram_free")
        device = {"name": "cpu", "type": "cpu", "index": None, **dict.fromkeys(memory, 0)}
        return web.json_response({"system": system, "devices": [device]})

    async def features(self, request: web.Request) -> web.Response:
        """The same as the answer to feature_flags."""
        return web.json_response(SERVER_FEATURES)

    async def embeddings(self, request: web.Request) -> web.Response:
        """Textual inversions, without their suffix."""
        names = self._shop.options.models.get("embeddings", ())
        return web.json_response([name.rsplit(".", 1)[0] for name in names])

    async def model_folders(self, request: web.Request) -> web.Response:
        """The kinds of models."""
        return web.json_response(list(MODEL_FOLDERS))

    async def models(self, request: web.Request) -> web.Response:
        """The files of one kind."""
        folder = request.match_info["folder"]
        if folder not in MODEL_FOLDERS:
            return web.Response(status=404)
        return web.json_response(sorted(self._shop.options.models.get(folder, ())))

    async def jobs(self, request: web.Request) -> web.Response:
        """A page of all jobs."""
        try:
            return web.json_response(job_views.list_jobs(self._shop.queue, request.query))
        except job_views.BadQuery as error:
            return web.json_response({"error": str(error)}, status=400)

    async def job(self, request: web.Request) -> web.Response:
        """One job."""
        detail = job_views.job_detail(self._shop.queue, request.match_info["job_id"])
        if detail is None:
            return web.json_response({"error": "Job not found"}, status=404)
        return web.json_response(detail)

    async def cancel_job(self, request: web.Request) -> web.Response:
        """Interrupt or delete one job."""
        cancelled = self._shop.queue.cancel(request.match_info["job_id"])
        return web.json_response({"cancelled": cancelled})

    async def cancel_jobs(self, request: web.Request) -> web.Response:
        """Interrupt or delete several jobs."""
        job_ids = (await request.json()).get("job_ids")
        if not isinstance(job_ids, list) or not job_ids:
            return web.json_response({"error": "job_ids must be a non-empty list"}, status=400)
        invalid = [job_id for job_id in job_ids if not _is_canonical_uuid(job_id)]
        if invalid:
            answer = {"error": "job_ids contains invalid id(s)", "invalid_ids": invalid}
            return web.json_response(answer, status=400)
        cancelled = [self._shop.queue.cancel(job_id) for job_id in job_ids]
        return web.json_response({"cancelled": any(cancelled)})

    def _number(self, body: dict[str, Any]) -> float:
        """A free number as posted, else the next one, negative to go to the front."""
        if "number" in body:
            return float(body["number"])
        number = self._next_number
        self._next_number += 1
        return -number if body.get("front") else number


def queue_status(shop: Workshop) -> dict[str, Any]:
    """The part that GET /prompt and every `status` message have in common."""
    return {"exec_info": {"queue_remaining": shop.queue.remaining()}}


def _extra_data(body: dict[str, Any]) -> dict[str, Any]:
    extra = {k: v for k, v in body.get("extra_data", {}).items() if k not in _SECRET_KEYS}
    if "client_id" in body:
        extra["client_id"] = body["client_id"]
    return {**extra, "create_time": int(time.time() * 1000)}


def _refuse(error: dict[str, Any], node_errors: dict[str, Any] | None = None) -> web.Response:
    return web.json_response({"error": error, "node_errors": node_errors or {}}, status=400)


def _is_canonical_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False
