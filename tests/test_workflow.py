"""Loading: any file is a workflow or an error that names file and place. Graph look-ups."""

from __future__ import annotations

import json
import os
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfyui import loading
from comfyui.graph import (
    Consumer,
    Link,
    as_link,
    consumers,
    find_by_class,
    find_by_title,
    links_of,
    output_nodes,
    title_of,
    upstream,
)
from comfyui.loading import MAX_DEPTH, MAX_NODES, read_bytes
from comfyui.object_info import ObjectInfo
from comfyui.workflow import Workflow
from image_provider import WorkflowError

GRAPH = {
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "3": {"class_type": "KSampler", "inputs": {"model": ["4", 0], "seed": 7, "positive": ["6", 0]}},
    "6": {
        "class_type": "CLIPTextEncode",
        "inputs": {"text": "a fox", "clip": ["4", 1]},
        "_meta": {"title": "Positive prompt"},
    },
    "20": {"class_type": "VAELoader", "inputs": {"vae_name": "unused.safetensors"}},
}
TEXT = json.dumps(GRAPH)


def load(tmp_path, content, name="test.json", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return Workflow.from_file(path, **options)


def refusal(tmp_path, content, **options):
    with pytest.raises(WorkflowError) as caught:
        load(tmp_path, content, **options)
    assert caught.value.file == "test.json"
    assert str(caught.value).startswith("workflow test.json: ")
    return str(caught.value)


def picture(kind, **texts):
    """A small picture with these texts; of a PNG each is (text, options of the text chunk)."""
    file, image = BytesIO(), Image.new("RGB", (2, 2))
    if kind == "PNG":
        notes = PngInfo()
        for keyword, (text, options) in texts.items():
            (notes.add_itxt if options else notes.add_text)(keyword, text, **options)
        image.save(file, kind, pnginfo=notes)
    else:
        exif = image.getexif()
        exif.update(zip((0x0110, 0x010F), texts.values(), strict=False))
        image.save(file, kind, exif=exif)
    return file.getvalue()


# Files


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_may_begin_with_a_byte_order_mark(tmp_path, encoding):
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    workflow = load(tmp_path, (mark + TEXT).encode(encoding))
    assert workflow.graph == GRAPH
    assert list(workflow.graph) == list(GRAPH)
    assert workflow.source == "test.json"


def test_a_posted_body_is_a_workflow_too(tmp_path):
    body = json.dumps({"prompt": GRAPH, "client_id": "me"})
    assert load(tmp_path, body).graph == GRAPH


def test_a_node_may_have_the_id_prompt():
    graph = {"prompt": {"class_type": "SaveImage", "inputs": {}}}
    assert Workflow.from_dict(graph).graph == graph


@pytest.mark.parametrize(
    "options", [{}, {"zip": True}, {"lang": "", "tkey": "", "zip": False}], ids=str
)
def test_a_png_carries_its_workflow(tmp_path, options):
    data = picture("PNG", workflow=("{}", {}), prompt=(TEXT, options))
    assert load(tmp_path, data, "test.png").graph == GRAPH


@pytest.mark.parametrize("broken", ["{", "null", "{}", "[]", "\x00"])
def test_a_picture_with_a_broken_prompt_has_its_workflow(tmp_path, broken):
    data = picture("PNG", prompt=(broken, {}), workflow=(TEXT, {}))
    assert load(tmp_path, data, "test.png").graph == GRAPH


def test_a_png_with_a_compressed_text_chunk_is_read(tmp_path):
    plain = picture("PNG", prompt=(TEXT, {}))
    body = b"prompt\0\0" + zlib.compress(TEXT.encode())
    chunk = len(body).to_bytes(4, "big") + b"zTXt" + body + b"\0\0\0\0"
    start = plain.index(b"tEXt") - 4
    assert load(tmp_path, plain[:start] + chunk, "test.png").graph == GRAPH


def test_a_webp_carries_its_workflow(tmp_path):
    data = picture("WEBP", prompt="prompt:" + TEXT, workflow="workflow:{}")
    assert load(tmp_path, data, "test.webp").graph == GRAPH


@pytest.mark.parametrize("kind", ["webp", "jpeg"])
def test_words_in_a_users_text_are_no_workflow_of_a_picture(tmp_path, kind):
    graph = {"1": {"class_type": "A", "inputs": {"text": "my prompt:{red|blue} workflow:{x"}}}
    exif = Image.Exif()
    exif[0x010F] = f"workflow:{json.dumps({'nodes': [], 'note': 'prompt:{red|blue}'})}"
    exif[0x0110] = f"prompt:{json.dumps(graph)}"
    Image.new("RGB", (1, 1)).save(tmp_path / "made", kind, exif=exif)
    assert Workflow.from_file(tmp_path / "made").graph == graph


def test_an_animated_png_carries_its_workflow(tmp_path):
    notes = PngInfo()
    text = json.dumps(GRAPH).encode("latin-1")
    notes.add(b"comf", b"prompt\0" + text, after_idat=True)
    frames = [Image.new("RGB", (1, 1), color) for color in ("red", "blue")]
    path = tmp_path / "made.png"
    frames[0].save(path, pnginfo=notes, save_all=True, append_images=frames[1:])
    assert Workflow.from_file(path).graph == GRAPH


def test_the_servers_note_on_a_node_in_a_picture_is_left_out():
    node = {"class_type": "A", "inputs": {}, "is_changed": [float("nan")]}
    assert Workflow.from_dict({"1": node}).graph == {"1": {"class_type": "A", "inputs": {}}}


def test_a_picture_without_a_workflow_says_so(tmp_path):
    assert "carries no workflow" in refusal(tmp_path, picture("PNG"))
    assert "carries no workflow" in refusal(tmp_path, picture("JPEG"))


def test_a_picture_cannot_unpack_to_more_than_the_limit(tmp_path):
    bomb = picture("PNG", prompt=(" " * 2_000_000, {"zip": True}))
    assert len(bomb) < 10_000
    tracemalloc.start()
    try:
        assert "larger than 10000 bytes" in refusal(tmp_path, bomb, max_bytes=10_000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_damaged_text_chunk_is_named(tmp_path):
    data = picture("PNG", prompt=(TEXT, {"zip": True}))
    assert "damaged" in refusal(tmp_path, data.replace(b"\x78\x9c", b"\x00\x00"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"3": {\n  "class_type": KSampler}}', "not JSON: Expecting value at line 2 column 17"),
        ("", "not JSON"),
        ("<!DOCTYPE html>", "not JSON"),
        ("[]", "holds a list"),
        ("null", "holds null"),
        ("true", "holds true or false"),
        ("17", "holds a number"),
        ("{}", "is empty"),
        ('{"prompt": {}}', "is empty"),
        ('{"3": [1]}', "node 3 is a list"),
        ('{"3": {"inputs": {}}}', "node 3 has no class_type"),
        ('{"3": {"class_type": "", "inputs": {}}}', "node 3 has no class_type"),
        ('{"3": {"class_type": "A", "inputs": [1]}}', "node 3 A: inputs is a list"),
        (b'{"3": "\xff"}', "byte 8 is not UTF-8; save the file as UTF-8"),
        ('{"3": 1,\n\n"3": 2}', "the key '3' is there twice, the second time on line 3"),
        ("[" * 100_000, "nested deeper than"),
        ('{"3": {"class_type": "A", "inputs": {"x": ' + "9" * 5000 + "}}}", "not JSON that can"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_broken_file_is_refused_with_its_place(tmp_path, content, words):
    if words == "not JSON that can" and load_huge_number():
        pytest.skip("this Python reads numbers of any length")
    assert words in refusal(tmp_path, content)


def load_huge_number():
    try:
        return int("9" * 5000) > 0
    except ValueError:
        return False


def test_a_second_key_whose_place_is_not_plain_is_still_named(tmp_path):
    text = '{"1": {"class_type": "A", "inputs": {"x": 1}}, "2": {"inputs": {}, "inputs": {}}}'
    assert refusal(tmp_path, text) == (
        "workflow test.json: the key 'inputs' is there twice; remove one of them"
    )


@pytest.mark.parametrize("second", ["é", "\\u00e9"])
def test_a_second_key_is_named_however_it_is_written(tmp_path, second):
    text = f'{{"é": {{"class_type": "A"}},\n"{second}": {{"class_type": "B"}}}}'
    assert refusal(tmp_path, text).endswith(
        "the key 'é' is there twice, the second time on line 2; remove one of them"
    )
    mixed = '{"1": {"class_type": "A"}, "\\u0031": {"class_type": "B"}}'
    assert refusal(tmp_path, mixed).endswith("the key '1' is there twice; remove one of them")


def test_a_file_larger_than_the_limit_is_not_read(tmp_path):
    assert "larger than 10 bytes" in refusal(tmp_path, TEXT, max_bytes=10)
    assert load(tmp_path, TEXT, max_bytes=len(TEXT)).graph == GRAPH


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="needs a file without a length")
@pytest.mark.parametrize(("length", "is_read"), [(1000, True), (60_000, False)])
def test_a_file_that_does_not_tell_its_length_is_read_to_the_limit(monkeypatch, length, is_read):
    monkeypatch.setattr(loading, "MAX_BYTES", 1000)
    reading, writing = os.pipe()
    os.write(writing, b"x" * length)
    os.close(writing)
    with open(reading, "rb", buffering=0) as pipe:
        if is_read:
            assert loading.read_beside(Path(f"/dev/fd/{reading}")) == b"x" * length
        else:
            with pytest.raises(WorkflowError, match="larger than 1000 bytes"):
                loading.read_beside(Path(f"/dev/fd/{reading}"))
        assert bool(pipe.read(1)) is not is_read


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.json", tmp_path, "nul\0byte.json"):
        with pytest.raises(WorkflowError, match="there is no such file"):
            Workflow.from_file(path)


def test_errors_of_a_node_carry_its_place(tmp_path):
    with pytest.raises(WorkflowError) as caught:
        load(tmp_path, '{"5": {"class_type": "A", "inputs": 1}}')
    assert (caught.value.node_id, caught.value.class_type) == ("5", "A")


# Dicts


def test_numbers_as_ids_become_text_in_keys_and_links():
    graph = {4: {"class_type": "A"}, 5: {"class_type": "B", "inputs": {"a": (4, 0), "b": [7, 0]}}}
    assert Workflow.from_dict(graph).graph == {
        "4": {"class_type": "A", "inputs": {}},
        "5": {"class_type": "B", "inputs": {"a": ["4", 0], "b": [7, 0]}},
    }


def test_numbers_as_ids_become_text_in_a_posted_body_too():
    graph = {4: {"class_type": "A"}, 5: {"class_type": "B", "inputs": {"a": [4, 0]}}}
    assert Workflow.from_dict({"prompt": graph}).graph["5"]["inputs"] == {"a": ["4", 0]}


def test_an_id_as_a_number_and_as_a_text_is_refused():
    with pytest.raises(WorkflowError, match="a key as a number and as a text"):
        Workflow.from_dict({1: {"class_type": "A"}, "1": {"class_type": "B"}})


def test_of_many_texts_in_a_picture_only_the_last_is_unpacked(monkeypatch, tmp_path):
    unpacked = []
    decompressobj = zlib.decompressobj

    def counted():
        unpacked.append(1)
        return decompressobj()

    monkeypatch.setattr("comfyui.picture_metadata.zlib.decompressobj", counted)
    plain = picture("PNG", prompt=("{}", {"zip": True}))
    (start, end) = (plain.index(b"iTXt") - 4, plain.index(b"IDAT") - 4)
    last = picture("PNG", prompt=(TEXT, {"zip": True}))
    chunks = plain[start:end] * 50 + last[last.index(b"iTXt") - 4 : last.index(b"IDAT") - 4]
    assert load(tmp_path, plain[:start] + chunks + plain[end:], "test.png").graph == GRAPH
    assert len(unpacked) == 1


def test_what_json_does_not_have_is_refused():
    for value in (b"bytes", {1, 2}, object()):
        with pytest.raises(WorkflowError, match="JSON does not have"):
            Workflow.from_dict({"1": {"class_type": "A", "inputs": {"x": value}}})
    with pytest.raises(WorkflowError, match="keys are text"):
        Workflow.from_dict({None: {"class_type": "A"}})


def test_a_dict_that_holds_itself_is_refused():
    inputs = {}
    inputs["again"] = inputs["twice"] = inputs
    with pytest.raises(WorkflowError, match=f"deeper than {MAX_DEPTH}"):
        Workflow.from_dict({"1": {"class_type": "A", "inputs": inputs}})


def test_nesting_is_taken_up_to_the_limit():
    def nested(levels):
        value = "deep"
        for _ in range(levels - 3):  # below the graph, the node and its inputs
            value = [value]
        return {"1": {"class_type": "A", "inputs": {"x": value}}}

    assert Workflow.from_dict(nested(MAX_DEPTH)).graph == nested(MAX_DEPTH)
    with pytest.raises(WorkflowError, match="deeper than"):
        Workflow.from_dict(nested(MAX_DEPTH + 1))


def many(number):
    return {str(n): {"class_type": "A", "inputs": {}} for n in range(number)}


def test_nodes_are_taken_up_to_the_limit(tmp_path):
    largest = many(MAX_NODES)
    assert Workflow.from_dict(largest).graph == largest
    for refused in (json.dumps(many(MAX_NODES + 1)), json.dumps({"prompt": many(MAX_NODES + 1)})):
        assert "10,001 nodes, more than the 10,000 allowed" in refusal(tmp_path, refused)
    editors = {"version": 0.4, "links": [], "nodes": []}
    editors["nodes"] = [{"id": n, "type": "SaveImage"} for n in range(MAX_NODES + 1)]
    with pytest.raises(WorkflowError, match="more than the 10,000 allowed"):
        Workflow.from_dict(editors, ObjectInfo.from_dict({"SaveImage": {"input": {}}}))


def test_lists_of_nothing_are_not_even_parsed(tmp_path):
    text = '{"1": {"class_type": "A", "inputs": {"x": [' + "[]," * 1_000_000 + "1]}}}"
    tracemalloc.start()
    try:
        assert "more than 2,000,000 values" in refusal(tmp_path, text)
        # Parsed, it is 120 MB; a file is read into as much as one may have.
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


def test_a_long_text_is_one_value(tmp_path):
    text = "a fox in the snow " * 200_000
    given = {"1": {"class_type": "A", "inputs": {"text": text}}}
    assert load(tmp_path, json.dumps(given)).graph == given


def test_an_id_with_control_characters_is_no_id():
    with pytest.raises(WorkflowError, match=r"a node with the id '\\x1b\[31m'"):
        Workflow.from_dict({"\x1b[31m": {"class_type": "A", "inputs": {}}})


def test_nobody_can_change_a_workflow():
    mine = json.loads(TEXT)
    workflow = Workflow.from_dict(mine)
    mine["6"]["inputs"]["text"] = "changed before"
    workflow.graph["6"]["inputs"]["text"] = "changed after"
    workflow.graph["3"]["inputs"]["model"][0] = "20"
    assert workflow.graph == GRAPH
    again = workflow.graph
    workflow = Workflow(again)
    again["6"]["inputs"]["text"] = "changed after"
    assert workflow.graph == GRAPH


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
NODE = st.dictionaries(st.sampled_from(["class_type", "inputs", "_meta"]), JSON)
DOCUMENT = JSON | st.dictionaries(st.text(max_size=3) | st.just("prompt"), NODE | JSON)


@given(DOCUMENT)
def test_any_json_is_a_workflow_or_a_workflow_error(document):
    try:
        graph = Workflow.from_dict(document).graph
    except WorkflowError:
        return
    assert graph
    for node in graph.values():
        assert node["class_type"] and title_of(node)
        assert dict(links_of(node)).keys() <= node["inputs"].keys()


BEGINNINGS = st.sampled_from(
    [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xfe", b"\xef\xbb\xbf", TEXT.encode()]
)


@given(BEGINNINGS, st.binary(), st.integers(0, 500))
def test_any_bytes_are_a_workflow_or_a_workflow_error(beginning, rest, cut):
    for data in (beginning + rest, (rest + beginning)[:cut]):
        try:
            assert read_bytes(data, None, "test.json")
        except WorkflowError as error:
            assert error.file == "test.json"


PNG = picture("PNG", prompt=(TEXT, {"zip": True}), workflow=("{}", {}))


@given(st.integers(8, len(PNG) - 1), st.integers(0, 255))
def test_a_damaged_png_is_a_workflow_or_a_workflow_error(place, byte):
    damaged = PNG[:place] + bytes([byte]) + PNG[place + 1 :]
    for data in (damaged, PNG[:place]):
        try:
            assert read_bytes(data, None, None)
        except WorkflowError as error:
            assert str(error).startswith("the workflow: ")


# Look-ups


def test_a_link_is_a_list_of_a_node_id_and_a_slot():
    assert as_link(["4", 1]) == Link("4", 1)
    for value in (["4"], ["4", "1"], ["4", 0.0], [4, 0], ["4", 0, 0], ("4", 1), "41", None, {}):
        assert as_link(value) is None


def test_nodes_are_found_by_class_and_title_in_file_order():
    graph = GRAPH | {"30": {"class_type": "CLIPTextEncode", "inputs": {}}}
    assert find_by_class(graph, "CLIPTextEncode") == "6"
    assert find_by_class(graph, "Nope") is None
    assert find_by_title(graph, "Positive prompt") == ["6"]
    assert find_by_title(graph, "CLIPTextEncode") == ["30"]


@pytest.mark.parametrize("meta", [{}, {"title": ""}, {"title": None}, {"title": ["x"]}, [], "x"])
def test_a_node_without_a_usable_title_goes_by_its_class(meta):
    graph = {"1": {"class_type": "A", "inputs": {}, "_meta": meta}}
    assert title_of(Workflow.from_dict(graph).graph["1"]) == "A"


def test_consumers_are_listed_by_what_they_take():
    index = consumers(GRAPH)
    assert index["4"] == [
        Consumer("8", "vae", 2),
        Consumer("3", "model", 0),
        Consumer("6", "clip", 1),
    ]
    assert "9" not in index


def test_upstream_is_all_that_feeds_a_node_nearest_first():
    assert upstream(GRAPH, ["9"]) == ["9", "8", "3", "4", "6"]
    assert upstream(GRAPH, ["6", "20", "no such node"]) == ["6", "20", "4"]


def test_upstream_ends_in_a_cycle_and_goes_any_depth():
    chain = {str(n): {"class_type": "A", "inputs": {"x": [str(n + 1), 0]}} for n in range(5000)} | {
        "5000": {"class_type": "A", "inputs": {"x": ["0", 0]}}
    }
    assert len(upstream(chain, ["7"])) == 5001


def test_output_nodes_are_known_by_object_info_and_else_by_name():
    graph = GRAPH | {"10": {"class_type": "MySink", "inputs": {}}}
    assert output_nodes(graph) == ["9"]
    info = ObjectInfo.from_dict(
        {
            "MySink": {"input": {}, "output_node": True},
            "SaveImage": {"input": {}, "output_node": False},
        }
    )
    assert output_nodes(graph, info) == ["10"]


def test_validate_gives_the_problems_of_the_graph():
    info = ObjectInfo.from_dict({"SaveImage": {"input": {}, "output_node": True}})
    problems = Workflow.from_dict(GRAPH).validate(info)
    assert [(p.kind, p.node_id) for p in problems] == [
        ("unknown_node", node_id) for node_id in GRAPH if node_id != "9"
    ]
