"""Layers of a quantised OpenVINO model put back to what they were.

Quantisation by NNCF leaves a `FakeQuantize` where values are rounded, and gives the layers that read them weights of
eight bits and a corrected bias. Names stay, so that the original model says what each layer was.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from resnext.inference.openvino_engine import openvino_module

if TYPE_CHECKING:
    import openvino

_QUANTISER = "FakeQuantize"
_LAYERS = ("Convolution", "GroupConvolution", "MatMul")
_MOVES_ONLY = ("MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze")  # rounded values stay rounded through these


def quantisers(model: "openvino.Model") -> list[str]:
    """Return the names of the places where values are rounded, in the order of the network."""
    return [op.get_friendly_name() for op in model.get_ordered_ops() if op.get_type_name() == _QUANTISER]


def num_quantised_layers(model: "openvino.Model") -> int:
    """Return how many convolutions and linear layers have weights of eight bits."""
    layers = [op for op in model.get_ops() if op.get_type_name() in _LAYERS]
    return sum(layer.input_value(1).get_node().get_type_name() != "Constant" for layer in layers)


def put_back(quantised: "openvino.Model", original: "openvino.Model", names: Collection[str]) -> "openvino.Model":
    """Return a copy that rounds nothing at the quantisers of these names, and whose layers there are the original's."""
    model = quantised.clone()
    ops = {op.get_friendly_name(): op for op in model.get_ordered_ops()}
    originals = {op.get_friendly_name(): op for op in original.get_ops()}
    for name in names:
        for reader in ops[name].output(0).get_target_inputs():
            reader.replace_source_output(ops[name].input_value(0))
    for name, op in ops.items():
        if op.get_type_name() in _LAYERS and name in originals and not _reads_rounded(op):
            _restore(op, 1, originals[name])
            for adds in (target.get_node() for target in op.output(0).get_target_inputs()):
                if adds.get_type_name() == "Add" and adds.get_friendly_name() in originals:
                    _restore(adds, 1, originals[adds.get_friendly_name()])
    model.validate_nodes_and_infer_types()
    return model


def _reads_rounded(layer: Any) -> bool:
    source = layer.input_value(0).get_node()
    while source.get_type_name() in _MOVES_ONLY:
        source = source.input_value(0).get_node()
    return bool(source.get_type_name() == _QUANTISER)


def _restore(op: Any, port: int, original: Any) -> None:
    """Give an operation the constant that its original has there, where that is one."""
    constant = original.input_value(port).get_node()
    if constant.get_type_name() == "Constant":
        copied = openvino_module().op.Constant(constant.data.copy())
        op.input(port).replace_source_output(copied.output(0))
