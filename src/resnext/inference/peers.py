"""The same network as other libraries build it, to be given the same weights."""

from torch import nn

from resnext.artefact.hub_config import timm_template
from resnext.inference.engine import EngineError
from resnext.spec.architecture import Architecture

_RGB = 3
_TEMPLATE = "they build four stages of 64 channels and more, with the ImageNet stem and shortcuts of type B"


def torchvision_network(architecture: Architecture) -> nn.Module:
    """Return torchvision's network of an architecture, with weights of its own, in evaluation mode.

    Raises `EngineError` where torchvision has none.
    """
    from torchvision.models import resnet  # noqa: PLC0415 - loads every network of torchvision

    if timm_template(architecture) is None or architecture.input_channels != _RGB:
        raise EngineError(f"torchvision has no network like this {architecture.name}: {_TEMPLATE}, from 3 channels")
    block = resnet.BasicBlock if architecture.block == "basic" else resnet.Bottleneck
    made: nn.Module = resnet.ResNet(
        block,
        list(architecture.stage_depths),
        num_classes=architecture.num_classes,
        groups=architecture.cardinality,
        width_per_group=architecture.base_width,
    )
    return made.eval()


def timm_network(architecture: Architecture) -> nn.Module:
    """Return timm's network of an architecture, with weights of its own, in evaluation mode.

    Raises `EngineError` where timm has none, or is not installed.
    """
    try:
        import timm  # noqa: PLC0415 - not needed by anything else
    except ImportError:
        raise EngineError("timm is not installed; pip install timm") from None
    template = timm_template(architecture)
    if template is None:
        raise EngineError(f"timm has no network like this {architecture.name}: {_TEMPLATE}")
    name, arguments = template
    made: nn.Module = timm.create_model(name, num_classes=architecture.num_classes, **arguments)
    return made.eval()
