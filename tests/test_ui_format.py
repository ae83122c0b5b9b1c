"""The editor's files are converted as the editor exports them, and nothing else gets through.

The expected graphs in tests/data/ui_format were exported by the official editor.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui.object_info import Editor, ObjectInfo
from comfyui.ui_format import convert
from comfyui.workflow import Workflow
from image_provider import WorkflowError
from tests.ui_format_support import a_file, a_node

DATA = Path(__file__).parent / "data" / "ui_format"
VERSIONS = ("0.3.64", "0.8.0", "0.26.0", "0.33.0")
NAMES = sorted(
    path.stem for path in DATA.glob("*.json") if "." not in path.stem and path.stem != "README"
)


def read(name):
    return json.loads((DATA / f"{name}.json").read_text("utf-8"))


INFOS = {version: ObjectInfo.from_dict(read(f"object_info.{version}")) for version in VERSIONS}
INFO = INFOS["0.26.0"]


def as_json(graph):
    """As JSON, which also has the order of keys and tells 1 from 1.0 and from true."""
    return json.dumps(graph, indent=1)


def expected(name, version):
    """What the editor of a server exported; one file where all do the same."""
    own = DATA / f"{name}.expected.{version}.json"
    return json.loads(own.read_text("utf-8")) if own.exists() else read(f"{name}.expected")


def classes(graph):
    return {node["class_type"] for node in graph.values()}


def untitled(graph):
    """Without titles: the editor has a table of its own for those that a file does not have."""
    return {i: {key: node[key] for key in ("inputs", "class_type")} for i, node in graph.items()}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", NAMES)
def test_a_file_becomes_what_the_editor_of_that_time_exports(name, version):
    wanted = expected(name, version)
    if not classes(wanted) <= set(INFOS[version]):
        with pytest.raises(WorkflowError, match="the server lacks the class"):
            convert(read(name), INFOS[version])
        return
    assert as_json(untitled(convert(read(name), INFOS[version]))) == as_json(untitled(wanted))


def test_titles_are_those_of_the_file_else_of_the_class():
    graph = convert(read("plain"), INFO)
    titles = {i: node["_meta"] for i, node in graph.items()}
    assert titles["2"] == {"title": "Positive prompt"}
    assert titles["1"] == {"title": "Load Checkpoint"}
    assert titles == {i: node["_meta"] for i, node in read("plain.expected").items()}


def test_every_generation_of_the_editor_is_told_by_the_server():
    assert [INFOS[version].editor for version in VERSIONS] == list(Editor)
    assert ObjectInfo({}).editor is Editor.V1_48
    own = read("object_info.0.26.0") | {
        "CreateBoundingBoxes": {"input": {}, "python_module": "custom_nodes.boxes"}
    }
    assert ObjectInfo.from_dict(own).editor is Editor.V1_45, "a pack may have a class of that name"


@pytest.mark.parametrize("name", NAMES)
def test_a_document_is_not_changed(name):
    document = read(name)
    convert(document, INFOS["0.33.0"])
    assert document == read(name)


def test_a_workflow_is_loaded_from_an_editor_file(tmp_path):
    path = tmp_path / "saved.json"
    path.write_text(json.dumps(read("plain")), "utf-8")
    assert Workflow.from_file(path, INFO).graph == read("plain.expected")
    assert Workflow.from_dict(read("plain"), INFO).graph == read("plain.expected")


# What the editor has no say in: packs and time


def test_dates_in_file_names_are_those_of_the_conversion():
    prefix = "%date:yyyy-MM-dd%/%date:yy h-mm-ss yyy%_%date%"
    file = a_file(
        a_node(1, "LoadImage", outputs=[("IMAGE", "IMAGE", [1])], values=["a.png", "image"]),
        a_node(2, "SaveImage", inputs=[("images", "IMAGE", 1)], values=[prefix]),
        links=[[1, 1, 0, 2, 0, "IMAGE"]],
    )
    graph = convert(file, INFO, datetime(2026, 3, 4, 5, 6, 7))
    assert graph["2"]["inputs"]["filename_prefix"] == "2026-03-04/26 5-06-07 yyy_%date%"


@pytest.mark.parametrize(
    ("getter", "setter"), [("GetNode", "SetNode"), ("easy getNode", "easy setNode")]
)
def test_a_get_node_has_what_the_set_node_of_its_name_is_fed(getter, setter):
    file = a_file(
        a_node(1, "LoadImage", outputs=[("IMAGE", "IMAGE", [1])], values=["a.png", "image"]),
        a_node(2, setter, [("IMAGE", "IMAGE", 1)], [("*", "*", None)], ["picture"]),
        a_node(3, setter, [("IMAGE", "IMAGE", None)], [("*", "*", None)], ["other"]),
        a_node(4, getter, (), [("IMAGE", "IMAGE", [2])], ["picture"]),
        a_node(5, "PreviewImage", [("images", "IMAGE", 2)]),
        links=[[1, 1, 0, 2, 0, "IMAGE"], [2, 4, 0, 5, 0, "IMAGE"]],
    )
    graph = convert(file, INFO)
    assert graph["5"]["inputs"]["images"] == ["1", 0]
    assert list(graph) == ["1", "5"]


def test_a_get_node_in_a_subgraph_looks_outside_too():
    getter = a_node(1, "GetNode", (), [("IMAGE", "IMAGE", [1])], ["picture"])
    preview = a_node(2, "PreviewImage", [("images", "IMAGE", 1)])
    link = dict(id=1, origin_id=1, origin_slot=0, target_id=2, target_slot=0, type="IMAGE")
    inner = {"id": "in", "name": "In", "nodes": [getter, preview], "links": [link]}
    file = a_file(
        a_node(7, "LoadImage", outputs=[("IMAGE", "IMAGE", [1])], values=["a.png", "image"]),
        a_node(8, "SetNode", [("IMAGE", "IMAGE", 1)], [("*", "*", None)], ["picture"]),
        a_node(9, "in"),
        links=[[1, 7, 0, 8, 0, "IMAGE"]],
        definitions={"subgraphs": [inner]},
    )
    assert convert(file, INFO)["9:2"]["inputs"] == {"images": ["7", 0]}


def test_a_subgraph_can_hand_on_what_it_is_given():
    ports = [{"name": "IMAGE", "type": "IMAGE", "linkIds": [1]}]
    link = dict(id=1, origin_id=-10, origin_slot=0, target_id=-20, target_slot=0, type="IMAGE")
    passing = {"id": "in", "name": "In", "nodes": [], "links": [link]}
    file = a_file(
        a_node(7, "LoadImage", outputs=[("IMAGE", "IMAGE", [1])], values=["a.png", "image"]),
        a_node(8, "in", [("IMAGE", "IMAGE", 1)], [("IMAGE", "IMAGE", [2])]),
        a_node(9, "PreviewImage", [("images", "IMAGE", 2)]),
        links=[[1, 7, 0, 8, 0, "IMAGE"], [2, 8, 0, 9, 0, "IMAGE"]],
        definitions={"subgraphs": [{**passing, "inputs": ports, "outputs": ports}]},
    )
    assert convert(file, INFO)["9"]["inputs"] == {"images": ["7", 0]}


def test_files_of_the_output_folder_keep_their_name():
    upload = {"image_upload": True, "image_folder": "output", "remote": {"route": "/files"}}
    classes = {"LoadImageOutput": {"input": {"required": {"image": ["COMBO", upload]}}}}
    node = a_node(1, "LoadImageOutput", values=["b.png [output]", False, "image"])
    assert convert(a_file(node), ObjectInfo.from_dict(classes))["1"]["inputs"] == {
        "image": "b.png [output]"
    }


def test_values_saved_by_name_find_their_widgets():
    values = {"text": "by name", "videopreview": {"hidden": False}}
    graph = convert(a_file(a_node(1, "CLIPTextEncode", values=values)), INFO)
    assert graph["1"]["inputs"] == {"text": "by name"}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a {red|blue} fox", "a red fox"),
        ("{a {b|c}|d} // not this", "a b "),
        ("/* nor\nthis */x", "x"),
        (r"a \{red\|blue\}", "a {red|blue}"),
        (r"{a\|b|c}", "a|b"),
        ("{open|brace", "open"),
        ("closed} {|b}", "closed} "),
        ("\\", "\\"),
    ],
)
def test_a_dynamic_prompt_has_its_first_alternatives(text, written):
    graph = convert(a_file(a_node(1, "CLIPTextEncode", values=[text])), INFO)
    assert graph["1"]["inputs"]["text"] == written


# Without a server's description


def test_without_object_info_a_file_that_names_its_widgets_is_converted():
    for name in ("plain", "bypassed", "muted", "links_as_objects", "values_by_link"):
        graph = convert(read(name), None)
        wanted = read(f"{name}.expected")
        inputs = {i: node["inputs"] for i, node in graph.items()}
        assert inputs == {i: node["inputs"] for i, node in wanted.items()}


def test_without_object_info_nodes_whose_values_have_no_names_are_listed():
    with pytest.raises(WorkflowError) as caught:
        convert(read("older_values"), None)
    for words in ("node 5 KSampler", "node 7 SaveImage", "--object-info", "--server", "(API)"):
        assert words in str(caught.value)
    assert (caught.value.node_id, caught.value.class_type) == ("1", "CheckpointLoaderSimple")


def test_without_object_info_nobody_knows_whether_a_text_is_a_dynamic_prompt():
    document = read("plain")
    encoder = next(node for node in document["nodes"] if node["id"] == 2)
    encoder["widgets_values"] = ["a {red|blue} fox"]
    with pytest.raises(WorkflowError, match="node 2 CLIPTextEncode"):
        convert(document, None)


# What is refused


def test_classes_that_the_server_lacks_are_named_with_their_packs():
    file = a_file(
        a_node(
            1, "AlienSampler", values=[1], properties={"cnr_id": "comfyui-aliens"}, title="Mine"
        ),
        a_node(2, "GhostNode (rgthree)"),
        a_node(3, "Muted", mode=2),
        a_node(4, "LoadImage", values=["a.png", "image"]),
    )
    with pytest.raises(WorkflowError) as caught:
        convert(file, INFO)
    message = str(caught.value)
    assert "node 1 AlienSampler 'Mine' (of comfyui-aliens)" in message
    assert "node 2 GhostNode (rgthree) (of rgthree-comfy)" in message
    assert "Muted" not in message
    assert caught.value.node_id == "1"
    kept = convert({**file, "nodes": file["nodes"][1:]}, INFO, keep_unknown=True)
    assert list(kept) == ["2", "4"]


def test_nodes_that_the_editor_alone_has_need_no_server():
    file = a_file(
        a_node(1, "Note", values=["x"]),
        a_node(2, "MarkdownNote", values=["x"]),
        a_node(3, "Fast Groups Muter (rgthree)"),
        a_node(4, "LoadImage", values=["a.png", "image"]),
    )
    assert list(convert(file, INFO)) == ["4"]


@pytest.mark.parametrize("class_type", ["Load3D", "Load3DAdvanced", "WebcamCapture"])
def test_what_only_a_browser_can_make_is_refused(class_type):
    info = ObjectInfo.from_dict({class_type: {"input": {}, "output": []}})
    with pytest.raises(WorkflowError, match=f"node 1 {class_type} needs .* editor"):
        convert(a_file(a_node(1, class_type)), info)


IMAGE = [("images", "IMAGE", 1)]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (a_file(5), "nodes holds 5"),
        (a_file({"type": "A"}), "id is None"),
        (a_file({"id": 1}), "node 1 has no type"),
        (a_file({"id": 1, "type": ["A"]}), "node 1 has no type"),
        (a_file({"id": 1, "type": "A", "mode": "x"}), "node 1 A: mode"),
        (a_file({"id": 1, "type": "A", "inputs": 5}), "node 1 A: inputs is not a list"),
        (a_file({"id": 1, "type": "A", "outputs": [5]}), "node 1 A: outputs holds 5"),
        (a_file({"id": 1, "type": "A", "inputs": [{"name": 5}]}), "node 1 A: .* named 5"),
        (a_file({"id": 1, "type": "A", "inputs": [{"name": "a", "link": "x"}]}), "link is 'x'"),
        (a_file({"id": 1, "type": "A", "widgets_values": 5}), "node 1 A: widgets_values"),
        (a_file(a_node(1, "A"), a_node(1, "B")), "two nodes have the id 1"),
        ({**a_file(), "links": 5}, "links is not a list"),
        (a_file(links=[[1, 2]]), r"a link is \[1, 2\]"),
        (a_file(links=[["x", 1, 0, 2, 0]]), "link 'x'"),
        (a_file(links=[{"id": 1}]), "link 1 has ids or slots that are none"),
        (a_file(a_node(1, "PreviewImage", IMAGE)), "node 1 PreviewImage, images: link 1"),
        (
            a_file(a_node(1, "PreviewImage", IMAGE), links=[[1, 9, 0, 1, 0, "IMAGE"]]),
            "node 1 PreviewImage: link 1 comes from node 9",
        ),
        (a_file(definitions=5), "definitions is not an object"),
        (a_file(definitions={"subgraphs": 5}), "definitions.subgraphs is not a list"),
        (a_file(definitions={"subgraphs": [{}]}), r"definitions.subgraphs\[0\] has no id"),
        (
            a_file(definitions={"subgraphs": [{"id": "a", "name": "In", "nodes": [5]}]}),
            "subgraph 'In': nodes holds 5",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_place(file, words):
    with pytest.raises(WorkflowError, match=words):
        convert(file, INFO)


def place_of(file, info=INFO):
    with pytest.raises(WorkflowError) as caught:
        convert(file, info)
    error = caught.value
    return error.node_id, error.class_type, error.input_name


def test_errors_carry_the_place_that_they_speak_of():
    assert place_of(a_file({"id": 3, "type": "A", "mode": "x"})) == ("3", "A", None)
    file = a_file(
        reroute(7, 2, [1, 2]),
        a_node(8, "PreviewImage", [("images", "IMAGE", 1)]),
        links=[[1, 7, 0, 8, 0, "IMAGE"], [2, 7, 0, 7, 0, "IMAGE"]],
    )
    assert place_of(file) == ("7", "Reroute", None)
    taker = a_node(5, "PreviewImage", [("images", "IMAGE", 1)])
    file = a_file(a_node(9, "in"), definitions={"subgraphs": [subgraph("in", taker)]})
    assert place_of(file) == ("9:5", "PreviewImage", "images")
    broken = {"id": 5, "type": "A", "mode": "x"}
    file = a_file(definitions={"subgraphs": [subgraph("in", broken)]})
    assert place_of(file) == (None, "A", None)


def subgraph(subgraph_id, *nodes):
    return {"id": subgraph_id, "name": f"sub {subgraph_id}", "nodes": list(nodes), "links": []}


def test_subgraphs_that_contain_themselves_are_refused():
    for definitions in (
        [subgraph("a", a_node(1, "a"))],
        [subgraph("a", a_node(1, "b")), subgraph("b", a_node(1, "a"))],
    ):
        file = a_file(a_node(1, "a"), definitions={"subgraphs": definitions})
        with pytest.raises(WorkflowError, match="subgraph 'sub a' contains itself"):
            convert(file, INFO)


def test_a_file_that_would_become_too_much_is_refused():
    doubled = [subgraph(str(n), a_node(1, str(n + 1)), a_node(2, str(n + 1))) for n in range(40)]
    doubled.append(subgraph("40", a_node(1, "PreviewImage")))
    with pytest.raises(WorkflowError, match="more than 100000 nodes"):
        convert(a_file(a_node(1, "0"), definitions={"subgraphs": doubled}), INFO)
    deep = [subgraph(str(n), a_node(1, str(n + 1))) for n in range(60)]
    with pytest.raises(WorkflowError, match="nested deeper than 50 levels"):
        convert(a_file(a_node(1, "0"), definitions={"subgraphs": deep}), INFO)


def group_file(definition, name="mine"):
    return a_file(
        a_node(1, f"workflow>{name}", outputs=[("IMAGE", "IMAGE", [1])], values=["a.png", "image"]),
        a_node(2, "PreviewImage", [("images", "IMAGE", 1)]),
        links=[[1, 1, 0, 2, 0, "IMAGE"]],
        extra={"groupNodes": definition},
    )


LOADER = {"type": "LoadImage", "outputs": [{"name": "IMAGE", "type": "IMAGE"}]}


def test_a_group_node_has_the_ids_of_its_node_and_their_numbers():
    graph = convert(group_file({"mine": {"nodes": [LOADER], "links": []}}), INFO)
    assert graph["1:0"]["inputs"] == {"image": "a.png"}
    assert graph["2"]["inputs"] == {"images": ["1:0", 0]}


def test_two_group_nodes_of_one_definition_keep_their_own_values():
    file = group_file({"mine": {"nodes": [LOADER], "links": []}})
    file["nodes"].append(a_node(3, "workflow/mine", values=["b.png", "image"]))
    graph = convert(file, INFO)
    assert [graph[i]["inputs"]["image"] for i in ("1:0", "3:0")] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ({}, r"does not say what is in node 1 workflow>mine \(extra.groupNodes\)"),
        ({"mine": 5}, "group node 'mine': its definition in extra.groupNodes is not an object"),
        ({"mine": {}}, "group node 'mine': nodes is not a list"),
        ({"mine": {"nodes": [], "links": 5}}, "group node 'mine': links is not a list"),
        ({"mine": {"nodes": [], "links": [[0, 0, 9, 0]]}}, "has a node that is not in it"),
        (
            {"mine": {"nodes": [{"type": "Alien"}], "links": []}},
            "lacks the class of node 1:0 Alien",
        ),
        (
            {"mine": {"nodes": [{"type": "workflow>mine"}], "links": []}},
            "group nodes cannot be inside a subgraph or another group node: node 1:0",
        ),
    ],
)
def test_a_group_node_that_cannot_be_opened_says_why(definition, words):
    with pytest.raises(WorkflowError, match=words):
        convert(group_file(definition), INFO)


def test_group_nodes_that_would_become_too_much_are_refused(monkeypatch):
    monkeypatch.setattr("comfyui.ui_format.group_classes.MAX_NODES", 1000)
    file = group_file({"mine": {"nodes": [{"type": "Note"}] * 400, "links": []}})
    file["nodes"] += [a_node(number, "workflow>mine") for number in (3, 4)]
    with pytest.raises(WorkflowError, match="more than 1000 nodes in its group nodes"):
        convert(file, INFO)


def primitive_file(value, name, value_type):
    """A Primitive node that gives KSampler one value."""
    giver = a_node(1, "PrimitiveNode", outputs=[(value_type, value_type, [1])], values=[value])
    taker = a_node(2, "KSampler", [(name, value_type, 1)])
    taker["inputs"][0]["widget"] = {"name": name}
    return a_file(giver, taker, links=[[1, 1, 0, 2, 0, value_type]])


@pytest.mark.parametrize(
    ("name", "value_type", "value", "written"),
    [
        ("cfg", "FLOAT", 7.126, 7.1),
        ("cfg", "FLOAT", 7.25, 7.3),
        ("denoise", "FLOAT", 0.125, 0.13),
        ("steps", "INT", 7.5, 8),
        ("seed", "INT", 2**60 + 1, 2**60 + 1),
        ("seed", "INT", 2**64 - 1, 2**64 - 1),
    ],
)
def test_a_primitive_node_rounds_what_it_gives_but_no_large_seed(name, value_type, value, written):
    graph = convert(primitive_file(value, name, value_type), INFO)
    assert graph["2"]["inputs"][name] == written


@pytest.mark.parametrize(("name", "value_type"), [("seed", "INT"), ("cfg", "FLOAT")])
def test_a_primitive_node_may_hold_what_is_no_number(name, value_type):
    graph = convert(primitive_file(float("nan"), name, value_type), INFO)
    assert graph["2"]["inputs"][name] != graph["2"]["inputs"][name]


@pytest.mark.parametrize("ports", [1, 2])
def test_links_that_a_file_lists_twice_cost_no_more(ports):
    def level(number):
        names = [f"p{n}" for n in range(ports)]
        links = [
            dict(id=n + 1, origin_id=-10, origin_slot=n, target_id=1, target_slot=n, type="INT")
            for n in range(ports)
        ]
        listed = [link["id"] for link in links] * 2
        inner = "KSampler" if number == 39 else str(number + 1)
        inputs = [
            {"name": f"p{n}", "type": "INT", "link": n + 1, "widget": {"name": f"p{n}"}}
            for n in range(ports)
        ]
        if number == 39:
            inputs = [{**slot, "name": "seed", "widget": {"name": "seed"}} for slot in inputs]
        return {
            "id": str(number),
            "name": f"level {number}",
            "nodes": [{"id": 1, "type": inner, "inputs": inputs}],
            "links": links,
            "inputs": [{"name": name, "type": "INT", "linkIds": listed} for name in names],
        }

    definitions = [level(number) for number in range(40)]
    graph = convert(a_file(a_node(1, "0"), definitions={"subgraphs": definitions}), INFO)
    assert len(graph) == 1


def test_a_choice_that_takes_promoted_widgets_away_leaves_nothing_of_them():
    document = read("choice_and_value_promoted")
    instance = next(node for node in document["nodes"] if node["id"] == 2)
    slot = next(slot for slot in instance["inputs"] if slot["name"] == "resize_type")
    slot["link"] = 90
    choice = {"name": "COMBO", "type": "COMFY_DYNAMICCOMBO_V3", "links": [90]}
    values = ["scale by multiplier", "fixed"]
    primitive = {"id": 40, "type": "PrimitiveNode", "outputs": [choice], "widgets_values": values}
    document["nodes"].append(primitive)
    document["links"].append([90, 40, 0, 2, instance["inputs"].index(slot), "COMBO"])
    inputs = convert(document, INFO)["2:5"]["inputs"]
    assert inputs["resize_type"] == "scale by multiplier"
    assert "resize_type.width" not in inputs


def test_a_conversion_shares_nothing_with_the_next():
    spec = {"default": {"points": [[0, 0]]}}
    described = {"input": {"required": {"c": ["CURVE", spec]}}}
    info = ObjectInfo.from_dict({"C": described})
    first = convert(a_file(a_node(1, "C")), info)
    first["1"]["inputs"]["c"]["points"].append("mine")
    assert convert(a_file(a_node(1, "C")), info)["1"]["inputs"]["c"] == {"points": [[0, 0]]}


@pytest.mark.parametrize("step", [-1, 0, float("inf"), float("nan"), 1e-320, "x"])
@pytest.mark.parametrize("kind", ["INT", "FLOAT"])
def test_steps_that_nobody_can_divide_by_change_nothing(kind, step):
    spec = [kind, {"step": step, "min": 0, "max": 9}]
    info = ObjectInfo.from_dict(
        {"C": {"input": {"required": {"c": spec}}}, "CustomCombo": {"input": {}}}
    )
    link = {"name": "c", "type": kind, "link": 1, "widget": {"name": "c"}}
    file = a_file(
        {"id": 1, "type": "C", "inputs": [link]},
        a_node(2, "PrimitiveNode", (), [(kind, kind, [1])], [3, "fixed"]),
        a_node(3, "CustomCombo", values=["a", "b"]),
        links=[[1, 2, 0, 1, 0, kind]],
    )
    assert convert(file, info)["1"]["inputs"]["c"] == 3


def reroute(node_id, link, links):
    return a_node(node_id, "Reroute", [("", "*", link)], [("", "*", links)])


def test_reroutes_in_a_circle_are_refused():
    file = a_file(
        reroute(1, 2, [1]),
        reroute(2, 1, [2, 3]),
        a_node(3, "PreviewImage", [("images", "IMAGE", 3)]),
        links=[[1, 1, 0, 2, 0, "*"], [2, 2, 0, 1, 0, "*"], [3, 2, 0, 3, 0, "IMAGE"]],
    )
    with pytest.raises(WorkflowError, match="Reroute feeds itself"):
        convert(file, INFO)


def test_a_chain_of_any_length_is_followed():
    count = 3_000
    chain = [reroute(n, n - 1, [n]) for n in range(2, count)]
    file = a_file(
        a_node(1, "LoadImage", outputs=[("IMAGE", "IMAGE", [1])], values=["a.png", "image"]),
        *chain,
        a_node(count, "PreviewImage", [("images", "IMAGE", count - 1)]),
        links=[[n, n, 0, n + 1, 0, "IMAGE"] for n in range(1, count)],
    )
    assert convert(file, INFO)[str(count)]["inputs"] == {"images": ["1", 0]}


# Whatever a file holds

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 60),
    st.floats(),
    st.sampled_from([float("nan"), float("inf"), 10**30]),
    st.sampled_from(["", "*", "INT", "-10", "KSampler", "Reroute", "PrimitiveNode"]),
    st.just([]),
    st.just({}),
    st.lists(st.integers(-3, 9), max_size=6),
    st.just({"name": "x", "link": 1, "linkIds": [1], "links": [1]}),
)


def places(value, path=()):
    """Every place in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, (dict, list)):
            yield from places(item, (*path, key))


PLACES = {name: list(places(read(name))) for name in NAMES}


@settings(deadline=None)
@given(st.data(), st.sampled_from(NAMES), st.sampled_from([None, *VERSIONS]))
def test_a_changed_file_is_a_graph_or_a_workflow_error(data, name, version):
    document = read(name)
    for _ in range(data.draw(st.integers(1, 4))):
        *way, last = data.draw(st.sampled_from(PLACES[name]))
        holder = document
        try:
            for key in way:
                holder = holder[key]
            if data.draw(st.booleans()):
                holder[last] = data.draw(JUNK)
            else:
                del holder[last]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took it away
    try:
        graph = Workflow.from_dict(document, INFOS.get(version)).graph
    except WorkflowError as error:
        assert str(error)
    else:
        assert all(node["class_type"] for node in graph.values())
