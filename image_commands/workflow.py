"""The command `workflow`: list the workflow files, check one, fill one in, draw one; convert.

Owns what these print and write: where every parameter of a request goes in a workflow and why, and
what keeps a server from running it. Generates nothing and sends no job; a server is asked for its
node classes when `--server` says so, and otherwise nobody is.
"""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfyui import loading
from comfyui.graph import title_of
from comfyui.library import WorkflowLibrary
from comfyui.replacements import left_to_server
from comfyui.survey import model_files, survey
from comfyui.ui_format import is_ui_format
from comfyui.workflow import Workflow
from image_commands.bind import add_bind
from image_commands.completers import workflow_names
from image_commands.convert import add_convert
from image_commands.files import FILE_HELP, load_workflow, write_whole
from image_commands.servers import (
    add_server_options,
    known_classes,
    known_replacements,
    problems_of,
    without_missing,
)
from image_commands.shared import (
    FAILED,
    OK,
    add_command,
    add_json,
    completes,
    one_line,
    place_of,
    print_block,
    print_json,
    print_table,
    say,
    short,
)
from image_config import Config
from image_provider import ImageGenerationRequest, WorkflowError

if TYPE_CHECKING:
    from rich.console import Console

_NO_SERVER = (
    "No server was asked: only the file's structure was checked. --server compares it with the "
    "ComfyUI of the settings, --object-info with a saved answer of its /object_info."
)


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds `workflow` to the commands; `common` has the options that every command takes."""
    workflow = add_command(
        commands,
        None,
        "workflow",
        "list, check, fill in and draw workflow files",
        "list",
        "check t2i_flux.json --server",
    )
    actions = workflow.add_subparsers(required=True, metavar="ACTION")
    add = partial(add_command, actions, common)
    listing = add("list", "show the files of the workflow folder and the models they load", "")
    add_json(listing)
    listing.set_defaults(command=_list)
    check = add(
        "check",
        "tell what is wrong with a file and where parameters go",
        "t2i_flux.json",
        "t2i_flux.json --server",
    )
    _add_file(check)
    add_json(check)
    check.set_defaults(command=_check)
    filling = add(
        "bind",
        "write the graph that a request would send",
        't2i_flux.json --prompt "a red fox" --seed 7 --set 8.cfg=1.5 -o fox.json',
    )
    add_bind(filling)
    show = add("show", "draw a workflow as one HTML page", "t2i_flux.json --html t2i_flux.html")
    _add_file(show)
    show.add_argument("--html", required=True, metavar="OUT", help="the page to write")
    show.add_argument("--prompt", metavar="TEXT", help="draw it with this prompt filled in")
    show.set_defaults(command=_show)
    convert = add(
        "convert",
        "turn editor files and pictures into API format",
        "t2i_flux.json -o flux_api.json",
        "saved.json picture.png -o converted/ --server",
    )
    add_convert(convert)


def _add_file(parser: argparse.ArgumentParser) -> None:
    completes(parser.add_argument("file", metavar="FILE", help=FILE_HELP), workflow_names)
    add_server_options(parser)


# The commands


def _list(args: argparse.Namespace, console: Console) -> int:
    library = WorkflowLibrary(Config().get_comfyui_workflow_dir())
    found = [_listed(library, name) for name in library.names()]
    if args.json:
        print_json({"folder": str(library.folder), "workflows": found})
        return OK
    if not found:
        say(
            console,
            f"There is no workflow in {library.folder}; COMFYUI_WORKFLOW_DIR sets that folder.",
        )
        return OK
    print_table(
        ("workflow", "format", "nodes", "models"),
        [
            (each["name"], each["format"] or "?", _or_unknown(each["nodes"]), _models_of(each))
            for each in found
        ],
    )
    failures = [(each["name"], each["error"]) for each in found if each["error"] is not None]
    print_block("Cannot be used as they are:", ("workflow", "why"), failures)
    return OK


def _listed(library: WorkflowLibrary, name: str) -> dict[str, Any]:
    """A workflow file as `list` tells of it; None for what cannot be known."""
    form = "UI" if _is_ui_file(library.folder / name) else None
    try:
        graph = library.load(name).graph
    except WorkflowError as error:
        unknown = {"nodes": None, "models": None}
        return {"name": name, "format": form, **unknown, "error": str(error)}
    told = {"nodes": len(graph), "models": model_files(graph)}
    return {"name": name, "format": form or "API", **told, "error": None}


def _or_unknown(value: object) -> str:
    return "?" if value is None else str(value)


def _models_of(told: dict[str, Any]) -> str:
    return _or_unknown(None if told["models"] is None else ", ".join(told["models"]))


def _check(args: argparse.Namespace, console: Console) -> int:
    told = _checked(args)
    if args.json:
        print_json(told)
    else:
        _print_checked(told)
    if not told["server_known"]:
        say(console, _NO_SERVER)
    return FAILED if told["problems"] else OK


def _checked(args: argparse.Namespace) -> dict[str, Any]:
    """All that `check` tells, as plain data."""
    info = known_classes(args)
    workflow = load_workflow(args.file, info)
    graph, found = workflow.graph, survey(workflow, info)
    replaced = known_replacements(args, graph, info)
    problems = [asdict(problem) for problem in problems_of(workflow, info, replaced)]
    problems += [{"kind": "binding", "message": str(failure)} for failure in found.failures]
    notes = [*left_to_server(graph, replaced).values()]
    with suppress(WorkflowError):  # what nothing can stand in for is among the problems
        notes += without_missing(graph, workflow, info, replaced)[1]
    return {
        "file": args.file,
        "server_known": info is not None,
        "problems": problems,
        "notes": notes,
        "bindings": [
            {**asdict(entry), "title": title_of(graph[entry.node_id])} for entry in found.bindings
        ],
        "ignored": [asdict(entry) for entry in found.ignored],
    }


def _print_checked(told: dict[str, Any]) -> None:
    for problem in told["problems"]:
        print(one_line(f"{problem['kind']}: {problem['message']}"))
    if not told["problems"]:
        print("No problem was found.")
    for note in told["notes"]:
        print(one_line(f"note: {note}"))
    print_block(
        "Where each parameter goes:",
        ("parameter", "input", "node", "why"),
        [
            (entry["parameter"], place_of(entry), short(entry["title"]), entry["reason"])
            for entry in told["bindings"]
        ],
    )
    print_block(
        "Ignored, because there is no place for it:",
        ("parameter", "why"),
        [(entry["parameter"], entry["reason"]) for entry in told["ignored"]],
    )


def _show(args: argparse.Namespace, console: Console) -> int:
    from comfyui.page import draw_page

    info = known_classes(args)
    workflow = load_workflow(args.file, info)
    graph = workflow.graph
    if args.prompt is not None:
        bound = workflow.bind(ImageGenerationRequest(args.prompt), info)
        graph, bindings, ignored = bound.graph, bound.bindings, bound.ignored
    else:
        found = survey(workflow, info)
        for failure in found.failures:
            say(console, one_line(str(failure)), "warning")
        bindings, ignored = found.bindings, found.ignored
    problems = problems_of(Workflow(graph), info, known_replacements(args, graph, info))
    name = workflow.source or args.file
    write_whole(args.html, draw_page(name, graph, bindings, ignored, problems, info))
    print(args.html)
    return OK


# What they need


def _is_ui_file(path: Path) -> bool:
    """Whether it is what the editor saves; False also for what cannot be read."""
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(loading.MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and is_ui_format(document)
