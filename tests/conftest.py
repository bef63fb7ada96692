import difflib
import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

# Tests run side by side, and threads that wait for a busy core in turn make small networks a hundred times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)

GOLDEN = Path(__file__).parent / "golden"

settings.register_profile("resnext", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("resnext")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden with what the tests computed")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with tests/golden/<name>, or rewrite that file under --update-golden."""
    is_update = request.config.getoption("--update-golden")
    command = f"pytest --update-golden {shlex.quote(request.node.nodeid)}"

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if is_update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
            return
        expected = path.read_text(encoding="utf-8") if path.exists() else ""
        if text != expected:
            state = "differs" if path.exists() else "does not exist"
            lines = (expected.splitlines(), text.splitlines())
            diff = difflib.unified_diff(*lines, f"golden/{name}", "computed", lineterm="")
            difference = "\n".join(diff) or "only the end of the last line differs"
            pytest.fail(
                f"golden/{name} {state}; if the new text is meant, run: {command}\n{difference}",
                pytrace=False,
            )

    return check


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Switch runtime type checks off, to see the answer to arguments that the annotations forbid."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def randomised() -> Callable[..., None]:
    """Give every batch norm of a network random scale, shift and statistics, in place."""

    @torch.no_grad()
    def randomise(network: nn.Module, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0.0, 0.3, generator=generator)
                module.get_buffer("running_mean").normal_(0.0, 0.3, generator=generator)
                module.get_buffer("running_var").uniform_(0.5, 2.0, generator=generator)
                module.get_buffer("num_batches_tracked").fill_(seed + 3)

    return randomise


@pytest.fixture(scope="session")
def relative_error() -> Callable[[Tensor, Tensor], float]:
    """Norm of the difference over norm of the expected; equal tensors, zeros too, differ by 0."""

    def error(actual: Tensor, expected: Tensor) -> float:
        assert actual.shape == expected.shape
        difference = (actual.double() - expected.double()).norm().item()
        return difference / expected.double().norm().item() if difference else 0.0

    return error
