"""How long it takes to convert the editor's files, beside reading the same file.

    python benchmarks/ui_format.py [FOLDER OBJECT_INFO]

Prints, for a chain of subgraphs with 10, 100 and 1,000 nodes, the time of `json.loads` of the file
and the conversion as a multiple of it; with a folder of editor files and a server's /object_info
also the median over these. All of a size are measured in one run, by turns, so that a busy machine
slows them alike; of all turns the fastest counts.
"""

from __future__ import annotations

import json
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.turns import fastest  # noqa: E402 - found once the path is set
from comfyui import ObjectInfo  # noqa: E402
from comfyui.ui_format import convert  # noqa: E402

DATA = ROOT / "tests" / "data" / "ui_format"
SIZES = (10, 100, 1_000)


def file_of(size: int) -> str:
    """A file of about this many nodes: one that samples through a subgraph, over and over."""
    one: dict[str, Any] = json.loads((DATA / "subgraph_promoted.json").read_text("utf-8"))
    nodes, links = [], []
    for number in range(max(1, size // 7)):
        nodes += [_moved_node(node, number * 100) for node in one["nodes"]]
        links += [_moved_link(link, number * 100) for link in one["links"]]
    return json.dumps({**one, "nodes": nodes, "links": links, "last_node_id": len(nodes) * 100})


def _moved_node(node: dict[str, Any], by: int) -> dict[str, Any]:
    def moved(slot: dict[str, Any]) -> dict[str, Any]:
        if slot.get("link") is not None:
            return {**slot, "link": slot["link"] + by}
        return {**slot, "links": [link + by for link in slot.get("links") or []]}

    slots = {side: [moved(slot) for slot in node[side]] for side in ("inputs", "outputs")}
    return {**node, "id": node["id"] + by, **slots}


def _moved_link(link: list[Any], by: int) -> list[Any]:
    link_id, origin_id, origin_slot, target_id, target_slot, link_type = link
    return [link_id + by, origin_id + by, origin_slot, target_id + by, target_slot, link_type]


def measured(text: str, info: ObjectInfo) -> tuple[float, float]:
    """Seconds for `json.loads`, and the conversion as a multiple of them."""
    read, converted = fastest([partial(json.loads, text), partial(convert, json.loads(text), info)])
    return read, converted / read


def main(arguments: list[str]) -> int:
    info = ObjectInfo.from_dict(json.loads((DATA / "object_info.0.26.0.json").read_text("utf-8")))
    print(f"{'nodes':>8} {'json.loads':>12} {'convert':>9}")
    for size in SIZES:
        text = file_of(size)
        seconds, ratio = measured(text, info)
        print(f"{len(convert(json.loads(text), info)):>8} {seconds * 1e6:>9.0f} µs {ratio:>8.1f}x")
    if len(arguments) == 2:
        folder, described = map(Path, arguments)
        info = ObjectInfo.from_dict(json.loads(described.read_text("utf-8")))
        files = sorted(folder.glob("*.json"))
        ratios = [measured(file.read_text("utf-8"), info)[1] for file in files]
        print(f"median of {len(ratios)} files: {statistics.median(ratios):.1f}x")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
