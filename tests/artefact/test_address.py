import pytest

from resnext.artefact.address import KINDS, STATE_DICTS, SUFFIX, as_folder, is_folder, names_weights


@pytest.mark.parametrize("suffix", [SUFFIX, *STATE_DICTS])
def test_a_file_of_every_suffix_names_weights(suffix: str) -> None:
    assert names_weights(f"runs/net{suffix}")
    assert names_weights(f"NET{suffix.upper()}")
    assert suffix in KINDS


def test_a_network_and_a_recipe_do_not_name_weights() -> None:
    assert names_weights("hf:someone/net") and names_weights("torchvision:resnet50")
    assert [text for text in ("resnext50_32x4d", "my.toml", "quick", "pt") if names_weights(text)] == []


@pytest.mark.parametrize("path", ["./net", "../net", "/net", "~/net", "~ann/net", ".", ".."])
def test_a_path_after_hf_is_a_folder(path: str) -> None:
    assert is_folder(path)
    assert as_folder(path) == path


@pytest.mark.parametrize("name", ["net", "someone/net", ".hidden/net"])
def test_anything_else_after_hf_is_a_repository(name: str) -> None:
    assert not is_folder(name)
    assert is_folder(as_folder(name))
