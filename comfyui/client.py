"""The endpoints of a ComfyUI server, one method each, over the one HTTP door.

Owns URLs, bodies and answers, and what a server that cannot be used is called. Knows no request, no
meaning of a node and no waiting: `comfyui/jobs.py` runs a job with what is here.
Facts: ComfyUI's server.py, seen on 0.3.64, 0.8.0 and 0.26.0.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from comfyui.address import ServerAddress
from comfyui.graph import Graph
from comfyui.node_rules import NodeRules
from comfyui.outputs import OutputFile
from comfyui.prompt_errors import parse_refusal
from comfyui.shared_answers import SharedAnswer
from comfyui.sockets import SocketPool
from image_io.forking import begin_anew_after_fork
from image_provider import (
    AuthenticationError,
    ImageGenerationError,
    InvalidRequestError,
    NotConnectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)

if TYPE_CHECKING:
    from image_io.http import HttpResponse

logger = logging.getLogger(__name__)

ORG_KEY = "api_key_comfy_org"
"""Where in a job's `extra_data` the key of comfy.org stands."""
_MAX_JSON_BYTES = 256 * 1024 * 1024
"""Of the server's lists and of histories, which hold whole graphs."""
_MAX_SHORT_BYTES = 16 * 1024 * 1024
"""Of every other answer in JSON."""
_ANY_NODE = NodeRules()


@dataclass(frozen=True)
class Limits:
    """Time limits in seconds; each ends a wait with an error that names it."""

    connect: float = 4.0
    read: float = 60.0
    queue: float = 3600.0
    stall: float = 900.0
    total: float = 7200.0
    silence: float = 2.0
    """Without news for so long, the server is asked how the job stands."""
    queue_interval: float = 5.0
    """The longest time between two looks while other jobs are before this one."""
    unreachable: float = 30.0
    """How long a server may fail to answer before a running job counts as lost."""


@dataclass(frozen=True)
class Accepted:
    """The answer to POST /prompt; `node_errors` names outputs that will not be made."""

    prompt_id: str
    node_errors: Mapping[str, Any]


class ComfyUIClient:
    """One server. Safe for many threads; raises ImageGenerationError on every failure."""

    def __init__(
        self,
        address: ServerAddress,
        client_id_prefix: str,
        limits: Limits | None = None,
        *,
        node_rules: NodeRules = _ANY_NODE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from image_io.http import HttpSession  # with requests, which an import alone does not need

        self.address = address
        self.limits = limits or Limits()
        self.node_rules = node_rules
        self.clock = clock
        self._http = HttpSession(
            f"ComfyUI at {address}",
            address.base_url,
            address.headers,
            connect_timeout=self.limits.connect,
            read_timeout=self.limits.read,
            busy_repeats=2,
            ca_bundle=address.ca_bundle,
        )
        self._client_id_prefix = client_id_prefix
        self._has_job_cancel = True
        self._begin()
        begin_anew_after_fork(self)

    def _begin(self) -> None:
        self.sockets = SocketPool(
            self.address,
            self._client_id_prefix,
            connect_timeout=self.limits.connect,
            clock=self.clock,
        )
        self._queue = SharedAnswer(self._ask_queue)

    def after_fork(self) -> None:
        """Leaves the idle sockets to the process that has them: closing one would end it there."""
        self._begin()

    def close(self) -> None:
        """Closes every idle connection."""
        self.sockets.close()
        self._http.close()

    def system_stats(self) -> dict[str, Any]:
        """GET /system_stats; also the test whether a ComfyUI is there, answered within seconds."""
        seconds = self.limits.connect
        try:
            stats = self._get_dict(
                "/system_stats",
                read_timeout=seconds,
                total_timeout=seconds,
                max_bytes=_MAX_SHORT_BYTES,
            )
        except ProviderTimeoutError as error:
            raise ProviderUnavailableError(str(error)) from error
        if not isinstance(stats.get("system"), dict):
            raise self._not_comfyui("its /system_stats names no system")
        return stats

    def object_info(self) -> dict[str, Any]:
        """GET /object_info: every node class of the server."""
        return self._get_dict("/object_info")

    def node_replacements(self) -> dict[str, Any]:
        """GET /node_replacements: the classes that the server replaces; {} before 0.14."""
        try:
            answer = self._send_short("GET", "/node_replacements").json_or_none()
        except InvalidRequestError as error:
            if error.status in (404, 405):
                return {}
            raise
        return answer if isinstance(answer, dict) else {}

    def queue(self) -> dict[str, Any]:
        """GET /queue: `queue_running` and `queue_pending`; threads that ask at once share it."""
        return self._queue.get()

    def _ask_queue(self) -> dict[str, Any]:
        return self._get_dict("/queue", **self._patiently)

    def queue_length(self) -> int:
        """How many jobs run or wait on the whole server."""
        seconds = self.limits.connect  # whoever answers at all answers this at once
        answer = self._get_dict(
            "/prompt", read_timeout=seconds, total_timeout=seconds, max_bytes=_MAX_SHORT_BYTES
        )
        info = answer.get("exec_info")
        remaining = info.get("queue_remaining") if isinstance(info, dict) else None
        return remaining if isinstance(remaining, int) else 0

    def history(self, prompt_id: str) -> dict[str, Any]:
        """GET /history/{id} as the server sends it; {} for an id it does not know."""
        path = f"/history/{quote(prompt_id, safe='')}"
        return self._get_dict(path, **self._patiently)

    def recent_history(self, items: int) -> dict[str, Any]:
        """GET /history: the entries of the last jobs by prompt id, up to `items` of them."""
        params = {"max_items": str(items)}
        return self._get_dict("/history", params=params, **self._patiently)

    def model_folders(self) -> list[str]:
        """GET /models: the folders under models/; [] before August 2024."""
        try:
            names = self._send_short("GET", "/models").json_or_none()
        except InvalidRequestError as error:
            if error.status in (404, 405):
                return []
            raise
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

    def models(self, folder: str) -> list[str]:
        """GET /models/{folder}: the file names there; [] for a folder that it does not have."""
        try:
            names = self._send_short("GET", f"/models/{quote(folder, safe='')}").json()
        except InvalidRequestError as error:
            if error.status == 404:
                return []
            raise
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

    def view(self, filename: str, subfolder: str = "", folder_type: str = "output") -> bytes:
        """GET /view: a file of the server, byte for byte."""
        return self._send(
            "GET",
            "/view",
            params={"filename": filename, "subfolder": subfolder, "type": folder_type},
            total_timeout=self.limits.total,
            parse_error=lambda response: self._view_error(response, filename),
        ).body

    def view_output(self, file: OutputFile) -> bytes:
        """`view` for a file that a job named."""
        return self.view(file.filename, file.subfolder, file.folder_type)

    def upload_image(self, data: bytes, filename: str, subfolder: str = "") -> str:
        """POST /upload/image; the stored file's name as LoadImage takes it: "subfolder/name"."""
        fields = {"type": "input", **({"subfolder": subfolder} if subfolder else {})}
        return self._upload("/upload/image", data, filename, fields)

    def upload_mask(self, data: bytes, filename: str, original: str) -> str:
        """POST /upload/mask: the alpha of `data` onto the uploaded picture `original`.

        For programs that inpaint a picture which lies on the server already; a generation sends
        picture and mask as one file.
        """
        folder, _, name = original.rpartition("/")
        reference = {"filename": name, "subfolder": folder, "type": "input"}
        fields = {"type": "input", "original_ref": json.dumps(reference)}
        return self._upload("/upload/mask", data, filename, fields)

    def _upload(self, path: str, data: bytes, filename: str, fields: dict[str, str]) -> str:
        # The server looks at the bytes, not at the type that is told.
        parts = {"image": (filename, data, "image/png")}
        answer = self._send_short("POST", path, files=parts, data=fields).json()
        name = answer.get("name") if isinstance(answer, dict) else None
        if not isinstance(name, str):
            raise ProviderUnavailableError(f"ComfyUI at {self.address} did not name the upload")
        # The server takes another name when the given one is taken by other bytes.
        folder = answer.get("subfolder")
        return f"{folder}/{name}" if folder else name

    def post_prompt(
        self,
        graph: Graph,
        *,
        prompt_id: str | None = None,
        client_id: str | None = None,
        extra_data: Mapping[str, Any] | None = None,
    ) -> Accepted:
        """POST /prompt; raises WorkflowError with every problem when the server refuses it."""
        body: dict[str, Any] = {"prompt": graph}
        if prompt_id is not None:
            body["prompt_id"] = prompt_id
        if client_id is not None:
            body["client_id"] = client_id
        if extra_data:
            body["extra_data"] = dict(extra_data)
            self._warn_of_keys_in(extra_data)
        answer = self._send_short(
            "POST",
            "/prompt",
            json_body=body,
            read_timeout=self._patience,
            parse_error=lambda response: parse_refusal(response, graph),
        ).json()
        accepted = answer.get("prompt_id") if isinstance(answer, dict) else None
        if not (isinstance(accepted, str) and accepted and accepted.isprintable()):
            raise ProviderUnavailableError(
                f"ComfyUI at {self.address} took the workflow but gave no prompt id"
            )
        errors = answer.get("node_errors")
        return Accepted(accepted, errors if isinstance(errors, dict) else {})

    def _warn_of_keys_in(self, extra_data: Mapping[str, Any]) -> None:
        """The one credential that is no header: ComfyUI's nodes take it from the job."""
        if ORG_KEY in extra_data:
            from image_io.credentials import warn_of_plain_http

            warn_of_plain_http(self.address.base_url, f"ComfyUI at {self.address}")

    def cancel(self, prompt_id: str) -> None:
        """Asks the server to end one job, running or waiting, and no other."""
        if self._has_job_cancel:
            try:
                self._order(f"/api/jobs/{quote(prompt_id, safe='')}/cancel")
            except InvalidRequestError as error:
                if error.status not in (404, 405):
                    raise
                self._has_job_cancel = False  # a server before 0.26
            else:
                return
        self._order("/queue", {"delete": [prompt_id]})
        # An older server takes /interrupt for "whatever runs": only when that is ours.
        running = self.queue().get("queue_running")
        if any(len(entry) > 1 and entry[1] == prompt_id for entry in _lists(running)):
            self._order("/interrupt", {"prompt_id": prompt_id})

    def _order(self, path: str, body: Mapping[str, Any] | None = None) -> None:
        """A POST that a server answers at once or, when it hangs, never."""
        self._send_short("POST", path, json_body=body, read_timeout=self.limits.connect)

    @property
    def _patiently(self) -> dict[str, float]:
        """Limits of a question about a job, for an answer that drips, too."""
        return {"read_timeout": self._patience, "total_timeout": 2 * self._patience}

    @property
    def _patience(self) -> float:
        """Seconds for an answer about a job: one that takes longer counts as none."""
        return min(self.limits.read, self.limits.unreachable)

    def _get_dict(self, path: str, **options: Any) -> dict[str, Any]:
        try:
            response = self._send("GET", path, **{"max_bytes": _MAX_JSON_BYTES, **options})
        except InvalidRequestError as error:
            if error.status is None:
                raise
            raise self._not_comfyui(f"HTTP {error.status} for {path}", error.status) from error
        answer = response.json_or_none()
        if not isinstance(answer, dict):
            kind = response.headers.get("content-type", "no content type").split(";")[0]
            raise self._not_comfyui(f"it sent {kind} for {path}", response.status)
        return answer

    def _send_short(self, method: str, path: str, **options: Any) -> HttpResponse:
        return self._send(method, path, max_bytes=_MAX_SHORT_BYTES, **options)

    def _send(self, method: str, path: str, **options: Any) -> HttpResponse:
        try:
            return self._http.request(method, path, **options)
        except ImageGenerationError as error:
            raise self._explained(error) from error.__cause__

    def _view_error(self, response: HttpResponse, filename: str) -> ImageGenerationError:
        if response.status == 404:
            return ProviderUnavailableError(
                f"ComfyUI at {self.address} no longer has the file {filename!r}", status=404
            )
        from image_io.http import error_for_status

        return error_for_status(response, f"ComfyUI at {self.address}")

    def _not_comfyui(self, sign: str, status: int | None = None) -> ProviderUnavailableError:
        return ProviderUnavailableError(
            f"what answers at {self.address} is not a ComfyUI server ({sign}): {_NEXT_STEP}",
            status=status,
        )

    def _explained(self, error: ImageGenerationError) -> ImageGenerationError:
        """The same failure with what to do about it, where that is known."""
        from image_io.trust import certificate_error

        match error:
            case AuthenticationError():
                return AuthenticationError(
                    f"ComfyUI at {self.address} wants credentials (HTTP {error.status}): set "
                    "COMFYUI_API_KEY, or write http://user:password@host in COMFYUI_SERVER_ADDRESS",
                    status=error.status,
                )
            case NotConnectedError() if certificate_error(error.__cause__):
                return error
            case NotConnectedError():
                return replace(error, message=f"{error}. {_START_IT}")
            case ProviderUnavailableError(status=None):
                return replace(error, message=f"{error}. {_IT_BROKE}")
            case ProviderTimeoutError(status=None):
                return ProviderTimeoutError(f"{error}. {_IT_HANGS}")
        return error


_NEXT_STEP = (
    "check the port in COMFYUI_SERVER_ADDRESS; ComfyUI prints its own address when it starts "
    "(8188 unless told otherwise)"
)
_START_IT = (
    "Start ComfyUI there (StabilityMatrix: Launch), or set COMFYUI_SERVER_ADDRESS to where it runs"
)
_IT_BROKE = (
    "ComfyUI, or a proxy before it, closed the connection: it may just be restarting; its log tells"
)
_IT_HANGS = (
    "It takes connections and is silent: busy, hanging, or no ComfyUI. Restart it, or set "
    "COMFYUI_SERVER_ADDRESS to where ComfyUI runs"
)


def _lists(value: object) -> list[list[Any]]:
    return [entry for entry in value if isinstance(entry, list)] if isinstance(value, list) else []
