"""A network as a program of torch's operators: what other runtimes are given."""

import warnings

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram


def program_of(network: nn.Module, example: Tensor) -> ExportedProgram:
    """Return what a module computes of batches like `example` (batch, channels, height, width).

    The size of the batch, the height and the width stay open as far as the module lets them.
    Raises `ValueError` where the module cannot be followed.
    """
    several = example.contiguous().repeat_interleave(2, dim=0)  # a batch of one would be taken for the only size
    sizes = ({0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch's own internals, which change from version to version
        try:
            return torch.export.export(network.eval(), (several,), dynamic_shapes=sizes, strict=False)
        except Exception as error:  # whatever the module's own code or torch's reading of it raises
            said = str(error).partition("\n")[0]
            raise ValueError(
                f"{type(network).__name__} cannot be exported ({type(error).__name__}: {said}); use engine 'torch'"
            ) from None
