import pytest
import torch

from resnext.inference import ceiling, contest
from resnext.inference.ceiling import large_copy, quickest_product
from resnext.inference.engine import FloatPrecision
from resnext.inference.engines import installed

SIDE = 128
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceiling, "SIDE", SIDE)
    monkeypatch.setattr(ceiling, "_COPIED_BYTES", 4096)
    monkeypatch.setattr(contest, "_SAMPLE_MS", 0.01)


def test_every_library_that_is_here_computes_the_same_product() -> None:
    runs = ceiling._products("fp32")
    assert list(runs) == ["torch", *(f"{name}, 1x1 convolution" for name in installed(CPU))]
    product = runs["torch"]()
    assert product.shape == (SIDE, SIDE)
    for run in runs.values():
        found = run().reshape(SIDE, SIDE)
        torch.testing.assert_close(found if run is runs["torch"] else found.T, product, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_product_is_found_in_each_precision(precision: FloatPrecision, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceiling, "installed", lambda _: ("torch",))
    found = quickest_product(precision)
    assert (found.precision, found.macs) == (precision, SIDE**3)
    assert found.run().numel() == SIDE**2


def test_the_quickest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    factor = torch.rand(64, 64)

    def repeated(times: int) -> torch.Tensor:
        return torch.stack([factor @ factor for _ in range(times)])

    runs = {"slow": lambda: repeated(2000), "quick": lambda: repeated(1), "slower": lambda: repeated(3000)}
    monkeypatch.setattr(ceiling, "_products", lambda _: runs)
    assert quickest_product("fp32").computed_by == "quick"


def test_a_copy_counts_what_is_read_and_what_is_written() -> None:
    copy = large_copy()
    assert copy.num_bytes == 2 * 4096
    assert copy.run().eq(1).sum() == 4096
