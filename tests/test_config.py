"""Settings: precedence, what is refused, and env.example against config.SETTINGS."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from comfyui_provider import ComfyUIProvider
from config import PREVIEW_METHODS, SETTINGS, Config
from image_provider import ConfigurationError
from image_routing.built_in import BUILT_IN

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = (ROOT / "env.example").read_text("utf-8")
SETTING_LINE = re.compile(r"(#?)([A-Z][A-Z0-9_]+)=(.*)")


def example_lines() -> list[tuple[str, ...]]:
    """(line before, "#" or "", name, value) of every setting in env.example."""
    lines = EXAMPLE.splitlines()
    found = (
        (before, SETTING_LINE.fullmatch(line))
        for before, line in zip(lines, lines[1:], strict=False)
    )
    return [(before, *match.groups()) for before, match in found if match]


# env.example


def test_the_example_has_every_setting_once_in_the_order_of_the_code():
    assert [name for _, _, name, _ in example_lines()] == [setting.name for setting in SETTINGS]


def test_what_is_unset_by_default_is_commented_out_and_the_rest_shows_its_default():
    defaults = {setting.name: setting.default for setting in SETTINGS}
    for _, commented, name, value in example_lines():
        if defaults[name] is None:
            assert commented, f"{name} is unset by default"
        else:
            assert (commented, value) == ("", defaults[name]), name


def test_every_setting_of_the_example_has_a_comment_of_its_own():
    for before, _, name, _ in example_lines():
        assert before.startswith("# "), f"{name} has no comment"


def test_the_example_copied_as_it_is_changes_nothing(tmp_path):
    env_file = tmp_path / "copy.env"
    env_file.write_text(EXAMPLE, "utf-8")
    copied, plain = Config({}, env_file), Config({}, None)
    assert [copied.get(s.name) for s in SETTINGS] == [plain.get(s.name) for s in SETTINGS]
    assert [copied.get_changed(s.name) for s in SETTINGS] == [None] * len(SETTINGS)


# Precedence


def test_the_environment_beats_the_file_and_the_file_the_default(monkeypatch):
    Path(".env").write_text("COMFYUI_TEMP_DIR=of-file\nIMAGE_CACHE_DIR=of-file\n", "utf-8")
    monkeypatch.setenv("COMFYUI_TEMP_DIR", "of-environment")
    config = Config()
    assert config.get_comfyui_temp_dir() == "of-environment"
    assert config.get_image_cache_dir() == "of-file"
    assert config.get_comfyui_workflow_dir() == "workflows/comfyui"
    names = ("COMFYUI_TEMP_DIR", "IMAGE_CACHE_DIR", "COMFYUI_WORKFLOW_DIR")
    assert [config.source(name) for name in names] == ["environment", ".env", "default"]


def test_an_empty_value_counts_as_unset():
    Path(".env").write_text("OPENAI_API_KEY=of-file\n", "utf-8")
    config = Config({"OPENAI_API_KEY": "", "COMFYUI_SERVER_ADDRESS": "  "})
    assert config.get_openai_api_key() == config.get_api_key() == "of-file"
    assert config.get_comfyui_server_address() == "127.0.0.1:8188"


def test_the_environment_is_left_as_it_was():
    Path(".env").write_text("OPENAI_API_KEY=of-file\n", "utf-8")
    Config()
    assert "OPENAI_API_KEY" not in os.environ


def test_a_change_of_the_environment_counts_from_the_next_config_on(monkeypatch):
    before = Config()
    monkeypatch.setenv("OPENAI_API_KEY", "new")
    assert before.get_openai_api_key() is None
    assert Config().get_openai_api_key() == "new"


def test_importing_reads_no_file(tmp_path):
    (tmp_path / ".env").write_bytes(b"\xff\xfe\x00")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import config, image_cli"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


# The file


def test_a_byte_order_mark_is_no_part_of_the_first_name():
    Path(".env").write_text("OPENAI_API_KEY=k\n", "utf-8-sig")
    assert Config().get_openai_api_key() == "k"


def test_values_with_dollar_signs_are_taken_as_they_are_written(monkeypatch):
    monkeypatch.setenv("HOME", "/home")
    Path(".env").write_text("OPENAI_API_KEY=a${HOME}b$c\n", "utf-8")
    assert Config().get_openai_api_key() == "a${HOME}b$c"


def test_other_programs_settings_are_no_trouble():
    Path(".env").write_text("# a comment\n\nexport SOMETHING='of others'\nBARE\n", "utf-8")
    assert Config().get("OPENAI_API_KEY") is None


def test_a_line_that_is_not_understood_is_named():
    Path(".env").write_text("OPENAI_API_KEY=k\nIMAGE_SOURCE_ROOTS='pictures\n", "utf-8")
    with pytest.raises(ConfigurationError, match=r"^\.env, line 2, is not of the form NAME=value"):
        Config()


def test_a_file_of_another_encoding_is_named():
    Path(".env").write_text("OPENAI_API_KEY=k\n", "utf-16")
    with pytest.raises(ConfigurationError, match=r"\.env is no UTF-8 text; save it as UTF-8"):
        Config()


# What is refused


def test_every_setting_that_cannot_be_used_is_told_at_once():
    with pytest.raises(ConfigurationError) as caught:
        Config(
            {
                "COMFYUI_READ_TIMEOUT": "soon",
                "COMFYUI_SILENCE": "0",
                "COMFYUI_TOTAL_TIMEOUT": "inf",
                "IMAGE_CACHE_MAX_BYTES": "1 GiB",
                "FLUX_HOST": "elsewhere",
                "COMFYUI_PREVIEW_METHOD": "default",
                "OPENAI_BASE_URL": "user:secret@host/v1",
            }
        )
    assert str(caught.value).split("; ") == [
        "COMFYUI_PREVIEW_METHOD (environment) must be one of auto, latent2rgb, taesd, none, not "
        "'default'",
        "COMFYUI_READ_TIMEOUT (environment) must be a number of seconds above 0, not 'soon'",
        "COMFYUI_TOTAL_TIMEOUT (environment) must be a number of seconds above 0, not 'inf'",
        "COMFYUI_SILENCE (environment) must be a number of seconds above 0, not '0'",
        "OPENAI_BASE_URL (environment) must be a whole URL, such as https://host/path",
        "FLUX_HOST (environment) must be one of bfl, fal, together, replicate, not 'elsewhere'",
        "IMAGE_CACHE_MAX_BYTES (environment) must be a whole number of bytes, not '1 GiB'",
    ]


@pytest.mark.parametrize("name", ["IMAGE_CACHE_MAX_BYTES", "IMAGE_SOURCE_MAX_SIDE"])
def test_a_number_of_thousands_of_digits_cannot_be_used(name):
    with pytest.raises(ConfigurationError, match=f"{name} .* whole number"):
        Config({name: "9" * 5000})


@pytest.mark.parametrize(
    "name", ["FLUX_HOST", "COMFYUI_PREVIEW_METHOD", "COMFYUI_SILENCE", "IMAGE_CACHE_MAX_BYTES"]
)
def test_a_key_in_the_wrong_setting_is_not_repeated(name):
    with pytest.raises(ConfigurationError, match=f"{name} .* must be") as caught:
        Config({name: "sk-1234567890abcdefghij"})
    assert "sk-" not in str(caught.value)


def test_an_unknown_setting_cannot_be_asked_for():
    with pytest.raises(KeyError):
        Config().get("COMFYUI_SERVER_ADRESS")


# Single settings


def test_no_key_is_needed():
    config = Config()
    assert config.get_openai_api_key() is None
    assert config.get_flux_api_key() is None and config.get_flux_host() is None
    assert config.get_black_forest_labs_api_key() is None
    assert config.get_flux_keys() == {}


def test_source_roots_unset_empty_and_set_are_three_things():
    assert Config({}).get_image_source_roots() is None
    assert Config({"IMAGE_SOURCE_ROOTS": ""}).get_image_source_roots() == ()
    assert Config({"IMAGE_SOURCE_ROOTS": "  "}).get_image_source_roots() == ()
    both = os.pathsep.join(["a", "", "b c"])
    roots = Config({"IMAGE_SOURCE_ROOTS": both}).get_image_source_roots()
    assert roots == (Path("a"), Path("b c"))


def test_empty_source_roots_in_the_file_close_every_folder():
    Path(".env").write_text("IMAGE_SOURCE_ROOTS=\n", "utf-8")
    assert Config({}).get_image_source_roots() == ()


def test_hosts_of_source_images_are_a_list():
    assert Config({}).get_image_source_hosts() == ()
    hosts = Config({"IMAGE_SOURCE_HOSTS": " localhost:8000, ,[::1]:81,files.lan"})
    assert hosts.get_image_source_hosts() == ("localhost:8000", "[::1]:81", "files.lan")


@pytest.mark.parametrize(
    "value",
    ["http://localhost", "me:pw@host", "*", "*.lan", "a/b", "a b", "a:x", "a:0", "a:99999", "::1"],
)
def test_what_is_no_host_is_refused_without_being_shown(value):
    with pytest.raises(ConfigurationError, match="must be hosts or host:port") as caught:
        Config({"IMAGE_SOURCE_HOSTS": f"good:1,{value}"})
    assert "pw" not in str(caught.value)


def test_longest_side_of_a_source_image_is_a_number_and_0_is_none():
    assert Config({}).get_image_source_max_side() == 4096
    assert Config({"IMAGE_SOURCE_MAX_SIDE": "64"}).get_image_source_max_side() == 64
    assert Config({"IMAGE_SOURCE_MAX_SIDE": "0"}).get_image_source_max_side() is None
    for value in ("63", "-1", "1.5", "many"):
        with pytest.raises(ConfigurationError, match="IMAGE_SOURCE_MAX_SIDE .* number of pixels"):
            Config({"IMAGE_SOURCE_MAX_SIDE": value})


def test_settings_of_source_images_reach_the_provider():
    config = Config({"IMAGE_SOURCE_HOSTS": "files.lan:1", "IMAGE_SOURCE_MAX_SIDE": "0"})
    with closing(BUILT_IN["comfyui"](config)) as provider:
        arguments = provider._arguments
    assert (arguments["source_hosts"], arguments["source_max_side"]) == (("files.lan:1",), None)


@pytest.mark.parametrize(
    ("value", "method"),
    [("auto", "auto"), ("Latent2RGB", "latent2rgb"), ("none", "none"), ("", None)],
)
def test_the_preview_method_reaches_the_provider_as_comfyui_spells_it(value, method):
    config = Config({"COMFYUI_PREVIEW_METHOD": value})
    assert config.get_comfyui_preview_method() == method
    with closing(BUILT_IN["comfyui"](config)) as provider:
        assert provider._arguments["preview_method"] == method


def test_every_preview_method_is_one_that_the_provider_takes():
    for method in PREVIEW_METHODS:
        with closing(ComfyUIProvider(preview_method=method)) as provider:
            assert provider._extra_data == {"preview_method": method}


def test_the_client_id_is_made_once_a_process_unless_it_is_set():
    assert Config().get_comfyui_client_id() == Config().get_comfyui_client_id()
    assert Config({"COMFYUI_CLIENT_ID": "mine"}).get_comfyui_client_id() == "mine"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_a_client_id_of_its_own():
    code = (
        "import os, sys; from config import Config; own = Config().get_comfyui_client_id()\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(Config().get_comfyui_client_id() != own)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("environ", "keys"),
    [
        ({"FLUX_API_KEY": "k"}, {"bfl": "k"}),
        ({"FLUX_API_KEY": "k", "FLUX_HOST": "Fal"}, {"fal": "k"}),
        ({"FLUX_API_KEY": "k", "FLUX_HOST": "fal", "FAL_KEY": "own"}, {"fal": "own"}),
        ({"BFL_API_KEY": "a"}, {"bfl": "a"}),
        ({"BFL_API_KEY": "a", "BLACK_FOREST_LABS_API_KEY": "b"}, {"bfl": "b"}),
        (
            {"TOGETHER_API_KEY": "t", "REPLICATE_API_TOKEN": "r"},
            {"together": "t", "replicate": "r"},
        ),
    ],
)
def test_every_flux_key_goes_to_its_host(environ, keys):
    assert Config(environ).get_flux_keys() == keys


def test_keys_are_not_shown_and_other_variables_not_kept():
    config = Config({"OPENAI_API_KEY": "sk-secret", "OTHER_SECRET": "of others"})
    assert repr(config) == "Config(configured: OPENAI_API_KEY)"
    assert "of others" not in str(vars(config))


def test_secrets_are_all_keys_and_tokens_that_are_set():
    names = [name for name in (setting.name for setting in SETTINGS) if "KEY" in name]
    environ = {name: f"secret of {name}" for name in [*names, "REPLICATE_API_TOKEN"]}
    config = Config({**environ, "FLUX_HOST": "fal"}, None)
    assert sorted(config.get_secrets()) == sorted(environ.values())


def test_an_application_may_have_a_config_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("DEBUG = True\n", "utf-8")
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
        "import config; from image_generator import ImageGenerator\n"
        "import comfyui_provider, image_cli, image_routing.built_in\n"
        "assert config.DEBUG and ImageGenerator().config.get_image_cache_dir()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
