from collections.abc import Callable

import pytest
import torch

from resnext.inference.contestants import Library, peer
from resnext.inference.engine import EngineError
from resnext.model.forms import build
from resnext.spec.architecture import Architecture, architecture
from resnext.spec.plan import Form

SMALL = Architecture(stage_depths=(1, 1, 1, 1), cardinality=4, base_width=4, num_classes=5)
BASIC = Architecture(stage_depths=(1, 2, 1, 1), block="basic", num_classes=5)
GREY = Architecture(stage_depths=(1, 1, 1, 1), cardinality=4, base_width=4, num_classes=5, input_channels=1)


@pytest.mark.parametrize("value", [SMALL, BASIC], ids=["grouped", "basic"])
@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize("form", ["grouped", "concatenated"])
def test_a_peer_has_other_code_and_the_same_logits(
    value: Architecture, library: Library, form: Form, randomised: Callable[..., None]
) -> None:
    if library == "timm":
        pytest.importorskip("timm", reason="timm, a peer, is not installed")
    if value.block == "basic":
        form = "grouped"
    network = build(value, form=form).eval()
    randomised(network)
    theirs = peer(library, network)
    images = torch.rand(2, 3, 32, 32)
    assert type(theirs).__module__.startswith(library)
    assert not theirs.training
    with torch.inference_mode():
        torch.testing.assert_close(theirs(images), network(images), rtol=1e-4, atol=1e-4)


def test_our_own_network_is_taken_as_it_is() -> None:
    network = build(SMALL).eval()
    assert peer("resnext", network) is network


@pytest.mark.parametrize("value", [architecture("resnext11_2x2d"), SMALL.model_copy(update={"base_channels": 8})])
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_what_a_library_does_not_have_is_said(value: Architecture, library: Library) -> None:
    if library == "timm":
        pytest.importorskip("timm", reason="timm, a peer, is not installed")
    with pytest.raises(EngineError, match=rf"^{library} has no network like this resnext1\d_\dx\dd: "):
        peer(library, build(value).eval())


def test_timm_takes_grey_images_and_torchvision_does_not() -> None:
    pytest.importorskip("timm", reason="timm, a peer, is not installed")
    network = build(GREY).eval()
    assert peer("timm", network)(torch.rand(1, 1, 32, 32)).shape == (1, 5)
    with pytest.raises(EngineError, match=r"^torchvision has no network like this .*, from 3 channels"):
        peer("torchvision", network)


def test_a_missing_timm_is_said_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(EngineError, match=r"^timm is not installed; pip install timm$"):
        peer("timm", build(SMALL).eval())
