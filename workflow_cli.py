"""The command `workflow`: list the workflow files, check one, fill one in, draw one; convert.

Owns what these print and write: where every parameter of a request goes in a workflow and why, and
what keeps a server from running it. Generates nothing and sends no job; a server is asked for its
node classes when `--server` says so, and otherwise nobody is.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli_files import FILE_HELP, load_workflow, write_whole
from cli_servers import add_server_options, known_classes, known_replacements
from cli_shared import FAILED, OK, one_line, parse_assignment, parse_size, print_table, say
from comfyui import loading
from comfyui.binding import Binding, bind
from comfyui.graph import Graph, title_of
from comfyui.library import WorkflowLibrary
from comfyui.object_info import ObjectInfo
from comfyui.replacements import (
    Replacements,
    left_to_server,
)
from comfyui.survey import merged, model_files, structural_problems, survey
from comfyui.ui_format import is_ui_format
from comfyui.validation import WorkflowProblem
from comfyui.workflow import Workflow
from config import Config
from convert_cli import add_convert
from image_provider import (
    DEFAULT_SIZE,
    ImageGenerationRequest,
    WorkflowError,
)

if TYPE_CHECKING:
    from rich.console import Console

_NO_SERVER = (
    "No server was asked: only the file's structure was checked. --server compares it with the "
    "ComfyUI of the settings, --object-info with a saved answer of its /object_info."
)
_SHOWN = 60
"""Characters of a value or title that a table shows."""


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds `workflow` to the commands; `common` has the options that every command takes."""
    workflow = commands.add_parser("workflow", help="list, check, fill in and draw workflow files")
    actions = workflow.add_subparsers(required=True, metavar="ACTION")

    def add(name: str, told: str, example: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = actions.add_parser(
            name,
            parents=[common],
            help=told,
            description=f"{told[0].upper()}{told[1:]}.",
            epilog=f"example:\n  image-cli workflow {name} {example}".rstrip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        return parser

    listing = add("list", "show the files of the workflow folder and the models they load", "")
    listing.set_defaults(command=_list)
    check = add(
        "check", "tell what is wrong with a file and where parameters go", "t2i_flux.json --server"
    )
    _add_file(check)
    check.set_defaults(command=_check)
    filling = add(
        "bind",
        "write the graph that a request would send",
        't2i_flux.json --prompt "a red fox" --seed 7 --set 8.cfg=1.5 -o fox.json',
    )
    _add_file(filling)
    _add_request(filling)
    filling.add_argument("-o", dest="output", required=True, metavar="OUT", help="file to write")
    filling.set_defaults(command=_bind)
    show = add(
        "show", "draw a workflow as one HTML page", "t2i_flux.json --html t2i_flux.html --server"
    )
    _add_file(show)
    show.add_argument("--html", required=True, metavar="OUT", help="the page to write")
    show.add_argument("--prompt", metavar="TEXT", help="draw it with this prompt filled in")
    show.set_defaults(command=_show)
    convert = add(
        "convert",
        "turn editor files and pictures into API format",
        "saved.json picture.png -o converted/ --server",
    )
    add_convert(convert)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help=FILE_HELP)
    add_server_options(parser)


def _add_request(parser: argparse.ArgumentParser) -> None:
    request = parser.add_argument_group("parameters", "what is not given stays as it is")
    add = request.add_argument
    add("--prompt", metavar="TEXT", help="what the picture shows")
    add("--negative", metavar="TEXT", help="what the picture must not show")
    add("--seed", type=int)
    add("--steps", type=int)
    add("--guidance", type=float, help="how closely the prompt is followed")
    add("--strength", type=float, help="0.0-1.0, how much may change")
    add("--size", type=parse_size, metavar="WxH", help="pixels, for example 1024x768")
    add("--model", metavar="NAME", help="model file, as the server calls it")
    add("--image", metavar="NAME", help="picture to start from, by its name on the server")
    add("--mask", metavar="NAME", help="mask, by its name on the server")
    add(
        "--set",
        dest="extra",
        type=parse_assignment,
        action="append",
        default=[],
        metavar="NODE.INPUT=VALUE",
        help="any input, by its node's id or title; the value is JSON, or else a text; repeatable",
    )


# The commands


def _list(args: argparse.Namespace, console: Console) -> int:
    library = WorkflowLibrary(Config().get_comfyui_workflow_dir())
    rows, failures = [], []
    for name in library.names():
        form = "UI" if _is_ui_file(library.folder / name) else "API"
        try:
            graph = library.load(name).graph
        except WorkflowError as error:
            rows.append((name, form if form == "UI" else "?", "?", "?"))
            failures.append((name, str(error)))
        else:
            rows.append((name, form, str(len(graph)), ", ".join(model_files(graph))))
    if not rows:
        say(console, f"There is no workflow in {library.folder}.")
        return OK
    print_table(("workflow", "format", "nodes", "models"), rows)
    _print_block("Cannot be used as they are:", ("workflow", "why"), failures)
    return OK


def _check(args: argparse.Namespace, console: Console) -> int:
    info = known_classes(args)
    workflow = load_workflow(args.file, info)
    graph, found = workflow.graph, survey(workflow, info)
    replaced = known_replacements(args, graph, info)
    problems = [f"{entry.kind}: {entry.message}" for entry in _problems(workflow, info, replaced)]
    problems += [f"binding: {failure}" for failure in found.failures]
    for problem in problems:
        print(one_line(problem))
    if not problems:
        print("No problem was found.")
    notes = [*left_to_server(graph, replaced).values()]
    with suppress(WorkflowError):  # what nothing can stand in for is among the problems
        notes += _without_missing(graph, workflow, info, replaced)[1]
    for note in notes:
        print(one_line(f"note: {note}"))
    _print_block(
        "Where each parameter goes:",
        ("parameter", "input", "node", "why"),
        [
            (entry.parameter, _place(entry), _short(title_of(graph[entry.node_id])), entry.reason)
            for entry in found.bindings
        ],
    )
    _print_block(
        "Ignored, because there is no place for it:",
        ("parameter", "why"),
        [(entry.parameter, entry.reason) for entry in found.ignored],
    )
    if info is None:
        say(console, _NO_SERVER)
    return FAILED if problems else OK


def _bind(args: argparse.Namespace, console: Console) -> int:
    request = _request(args)
    info = known_classes(args)
    workflow = load_workflow(args.file, info)
    left = ("prompt",) if args.prompt is None else ()
    bound = bind(workflow, _as_sent(request, workflow, console), info, left)
    replaced = known_replacements(args, bound.graph, info)
    graph, notes = _without_missing(bound.graph, workflow, info, replaced)
    write_whole(args.output, json.dumps(graph, indent=2, ensure_ascii=False) + "\n")
    print_table(
        ("parameter", "input", "value", "why"),
        [
            (entry.parameter, _place(entry), _value(entry.value), entry.reason)
            for entry in merged(bound.bindings)
        ],
        stderr=True,
    )
    for entry in bound.ignored:
        say(console, one_line(f"{entry.parameter} is ignored: {entry.reason}"), "warning")
    for told in left_to_server(graph, replaced).values():
        say(console, one_line(told))
    problems = _problems(Workflow(graph), info, replaced)
    for told in [*notes, *(problem.message for problem in problems)]:
        say(console, one_line(told), "warning")
    print(args.output)
    return OK


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
    problems = _problems(Workflow(graph), info, known_replacements(args, graph, info))
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


def _problems(
    workflow: Workflow, info: ObjectInfo | None, replaced: Replacements
) -> list[WorkflowProblem]:
    if info is None:
        return structural_problems(workflow.graph)
    return workflow.validate(info, replaced)


def _without_missing(
    graph: Graph, workflow: Workflow, info: ObjectInfo | None, replaced: Replacements
) -> tuple[Graph, list[str]]:
    """The graph without the nodes that the server lacks, and a sentence for each of them."""
    if info is None:
        return graph, []
    from comfyui.fitting import do_without_missing

    name = workflow.source or "given"
    return do_without_missing(graph, info, "bypass", name, replaced)


def _request(args: argparse.Namespace) -> ImageGenerationRequest:
    width, height = args.size or (DEFAULT_SIZE, DEFAULT_SIZE)
    request = ImageGenerationRequest(
        prompt=args.prompt or "",
        negative_prompt=args.negative,
        width=width,
        height=height,
        seed=args.seed,
        steps=args.steps,
        guidance_scale=args.guidance,
        source_image_url=args.image,
        mask_image_url=args.mask,
        strength=args.strength,
        model=args.model,
        extra=dict(args.extra),
    )
    if args.prompt is None and args.size is None and request == ImageGenerationRequest(""):
        raise ValueError("nothing to fill in was given; give --prompt or another of the parameters")
    return request


def _as_sent(
    request: ImageGenerationRequest, workflow: Workflow, console: Console
) -> ImageGenerationRequest:
    """The request with its size made to fit the model, as a generation makes it."""
    from comfyui.source_upload import prepare

    unpictured = replace(request, source_image_url=None, mask_image_url=None)
    prepared = prepare(unpictured, workflow, workflow.source or "given", None)
    if "size" in prepared.notes:
        sides = (prepared.notes["size"][key] for key in ("asked", "used"))
        asked, used = ("x".join(map(str, side)) for side in sides)
        say(console, f"The size {asked} becomes {used}, which this model takes.")
    return replace(request, width=prepared.request.width, height=prepared.request.height)


# What they show and write


def _print_block(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A heading and its table; nothing where there are no rows."""
    if rows:
        print(f"\n{title}")
        print_table(heads, rows)


def _place(entry: Binding) -> str:
    """The input as `--set` and `extra` take it."""
    return f"{entry.node_id}.{entry.input_name}"


def _value(value: object) -> str:
    return _short(value if isinstance(value, str) else json.dumps(value))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
