"""Every shape of /object_info is read, and nothing in it makes the reader fail."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui.object_info import ObjectInfo
from image_provider import WorkflowError

DATA = Path(__file__).parent / "data" / "object_info"
VERSIONS = ("0.3.64", "0.8.0", "0.26.0")


def load(version):
    return ObjectInfo.from_dict(json.loads((DATA / f"{version}.json").read_text("utf-8")))


def one_input(declared, class_type="Some"):
    info = ObjectInfo.from_dict({class_type: {"input": {"required": {"it": declared}}}})
    return info[class_type].inputs["it"]


@pytest.fixture(params=VERSIONS)
def info(request):
    return load(request.param)


def test_it_is_a_mapping_of_classes(info):
    assert "KSampler" in info and "Nope" not in info and 5 not in info
    assert len(info) == len(list(info)) > 20
    assert info["KSampler"].class_type == "KSampler"
    assert info.get("Nope") is None
    with pytest.raises(KeyError):
        info["Nope"]


def test_a_sampler_is_described_in_full(info):
    sampler = info["KSampler"]
    assert list(sampler.inputs) == [
        *("model", "seed", "steps", "cfg", "sampler_name", "scheduler"),
        *("positive", "negative", "latent_image", "denoise"),
    ]
    assert [(out.type, out.name, out.is_list) for out in sampler.outputs] == [
        ("LATENT", "LATENT", False)
    ]
    seed, cfg = sampler.inputs["seed"], sampler.inputs["cfg"]
    assert (seed.type, seed.minimum, seed.maximum) == ("INT", 0, 2**64 - 1)
    assert (cfg.type, cfg.default, cfg.step, cfg.is_widget) == ("FLOAT", 8.0, 0.1, True)
    assert seed.settings["control_after_generate"] is True
    assert "euler" in sampler.inputs["sampler_name"].options
    assert not sampler.inputs["model"].is_widget
    assert not sampler.is_output_node and not sampler.is_custom
    assert sampler.category.endswith("sampling")


def test_output_nodes_and_hidden_inputs_are_known(info):
    save = info["SaveImage"]
    assert save.is_output_node
    assert save.hidden == ("prompt", "extra_pnginfo")


def test_old_and_new_combos_read_alike():
    old = one_input([["a", "b"], {"default": "b"}])
    new = one_input(["COMBO", {"options": ["a", "b"], "default": "b"}])
    assert old == new
    assert (old.type, old.options, old.default) == ("COMBO", ("a", "b"), "b")
    assert one_input([["a", "b"]]).default == "a"


def test_a_combo_that_only_the_editor_can_fill_has_no_options(info):
    assert info["LoadImageOutput"].inputs["image"].options is None


def test_both_forms_occur_in_the_fixtures():
    old, new = load("0.3.64"), load("0.26.0")
    assert old["BasicScheduler"].inputs["scheduler"].settings == {}
    assert "options" in new["LatentConcat"].inputs["dim"].settings
    assert new["LatentConcat"].inputs["dim"].options == ("x", "-x", "y", "-y", "t", "-t")


def test_optional_inputs_follow_required_ones_whatever_the_order_in_the_answer():
    entry = {
        "input": {
            "optional": {"c": ["IMAGE"]},
            "required": {"a": ["INT"], "b": ["MASK"], "unlisted": ["INT"]},
        },
        "input_order": {"required": ["b", "a", "not there"], "optional": ["c"]},
    }
    inputs = ObjectInfo.from_dict({"Some": entry})["Some"].inputs
    assert list(inputs) == ["b", "a", "unlisted", "c"]
    assert [name for name, info in inputs.items() if not info.required] == ["c"]


def test_an_input_in_both_sections_is_required_as_the_server_has_it():
    entry = {"input": {"required": {"a": ["INT"]}, "optional": {"a": ["MASK"]}}}
    described = ObjectInfo.from_dict({"Some": entry})["Some"].inputs["a"]
    assert (described.required, described.type) == (True, "INT")


def test_force_input_makes_a_socket_and_widget_type_a_widget():
    assert not one_input(["STRING", {"forceInput": True}]).is_widget
    assert one_input(["STRING,FILE_3D", {"widgetType": "STRING"}]).is_widget
    assert one_input(["COLOR", {"socketless": True}]).is_widget
    assert one_input(["STRING", {"multiline": True}]).multiline


def test_a_dynamic_combo_offers_keys_and_the_inputs_behind_each():
    resize = load("0.26.0")["ResizeImageMaskNode"].inputs["resize_type"]
    assert resize.type == "COMFY_DYNAMICCOMBO_V3" and resize.is_widget
    assert "match size" in resize.options
    behind = resize.choice_inputs("scale by multiplier")
    assert list(behind) == ["resize_type.multiplier"]
    assert behind["resize_type.multiplier"].maximum == 8.0
    assert resize.choice_inputs("no such choice") == {}


def test_other_inputs_that_come_and_go_do_not_disturb():
    newest = load("0.26.0")
    assert newest["BatchImagesNode"].inputs["images"].type == "COMFY_AUTOGROW_V3"
    assert newest["ComfySwitchNode"].outputs[0].type == "COMFY_MATCHTYPE_V3"


@pytest.mark.parametrize(
    ("class_type", "input_name", "folder"),
    [
        ("CheckpointLoaderSimple", "ckpt_name", "checkpoints"),
        ("UNETLoader", "unet_name", "diffusion_models"),
        ("UNETLoader", "weight_dtype", None),
        ("DualCLIPLoader", "clip_name1", "text_encoders"),
        ("DualCLIPLoader", "type", None),
        ("VAELoader", "vae_name", "vae"),
        ("LoraLoader", "lora_name", "loras"),
        ("ControlNetLoader", "control_net_name", "controlnet"),
        ("UpscaleModelLoader", "model_name", "upscale_models"),
        ("CLIPVisionLoader", "clip_name", "clip_vision"),
        ("KSampler", "sampler_name", None),
    ],
)
def test_model_files_are_known_with_their_folder(info, class_type, input_name, folder):
    assert info[class_type].inputs[input_name].model_folder == folder


def test_model_files_of_custom_loaders_are_known_by_the_inputs_name():
    assert one_input([[]], "UnetLoaderGGUF").model_folder is None
    data = {"UnetLoaderGGUF": {"input": {"required": {"unet_name": [[]]}}}}
    unet = ObjectInfo.from_dict(data)["UnetLoaderGGUF"].inputs["unet_name"]
    assert unet.model_folder == "diffusion_models"
    data = {"Stack": {"input": {"required": {"lora_name_2": [[]], "lora_weight_2": ["FLOAT"]}}}}
    stack = ObjectInfo.from_dict(data)["Stack"].inputs
    assert [i.model_folder for i in stack.values()] == ["loras", None]


def test_a_text_named_like_a_model_file_is_no_model_file():
    assert one_input(["STRING"]).model_folder is None
    data = {"Show": {"input": {"required": {"ckpt_name": ["STRING", {"forceInput": True}]}}}}
    assert ObjectInfo.from_dict(data)["Show"].inputs["ckpt_name"].model_folder is None


def test_uploads_are_known_by_kind(info):
    assert info["LoadImage"].inputs["image"].upload == "image"
    assert info["LoadImageMask"].inputs["channel"].upload is None
    assert info["LoadVideo"].inputs["file"].upload == "video"
    assert info["LoadLatent"].inputs["latent"].upload == "latent"
    assert info["KSampler"].inputs["seed"].upload is None


def test_only_the_oldest_server_does_not_hold_new_combos_to_their_options():
    assert [load(version).checks_new_combos for version in VERSIONS] == [False, True, True]
    assert ObjectInfo.from_dict({"Some": {"input": {}}}).checks_new_combos


def test_classes_are_read_when_first_asked_for():
    info = load("0.26.0")
    assert "KSampler" in info and list(info)
    assert info._read == {}
    assert info["KSampler"] is info["KSampler"]


def test_object_info_can_be_pickled_after_use(info):
    assert info["KSampler"] == pickle.loads(pickle.dumps(info))["KSampler"]


def test_a_custom_pack_is_told_by_its_module():
    entry = {"input": {}, "python_module": "custom_nodes.ComfyUI-GGUF"}
    assert ObjectInfo.from_dict({"UnetLoaderGGUF": entry})["UnetLoaderGGUF"].is_custom


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ([], "it is a list"),
        (None, "it is a NoneType"),
        ({"KSampler": []}, "'KSampler' does not describe"),
        ({"KSampler": {"input": []}}, "'KSampler' does not describe"),
        ({"3": {"class_type": "KSampler", "inputs": {}}}, "none of its entries has inputs"),
    ],
)
def test_what_is_no_object_info_is_refused_with_the_remedy(data, why):
    with pytest.raises(WorkflowError, match=why) as caught:
        ObjectInfo.from_dict(data)
    assert "http://SERVER/object_info" in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)
ENTRY_KEYS = ("input", "input_order", "output", "output_name", "output_is_list", "display_name")
SPEC = st.tuples(
    st.sampled_from(["INT", "COMBO", "COMFY_DYNAMICCOMBO_V3", ["a"], None]),
    st.dictionaries(st.sampled_from(["options", "min", "default", "multiline"]), JSON),
).map(list)
SECTIONS = st.dictionaries(
    st.sampled_from(["required", "optional", "hidden"]),
    st.dictionaries(st.text(max_size=3), SPEC | JSON, max_size=3) | JSON,
)
ENTRY = st.dictionaries(st.sampled_from(ENTRY_KEYS), JSON | SECTIONS)


@given(st.dictionaries(st.text(max_size=3), ENTRY, max_size=3) | JSON)
def test_any_json_is_object_info_or_a_workflow_error(data):
    try:
        info = ObjectInfo.from_dict(data)
    except WorkflowError:
        return
    for class_type in info:
        for described in info[class_type].inputs.values():
            assert isinstance(described.choice_inputs("a"), dict)
