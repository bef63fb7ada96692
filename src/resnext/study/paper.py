"""What the paper reports, and what others report who repeated it (sections 4 and 5, Tables 1 to 8): data alone.

A value stands as it was published, rounded as its authors rounded it; exact counts come after the tables. How the
paper's networks were trained is in the recipes `paper-imagenet` and `paper-cifar`. `Published` says what the fields
mean, and `claims` hands the numbers out one by one.
"""

from resnext.study.published import Published

PAPER = "arXiv 1611.05431v2"
COUNTS = "calculated; what torchvision and pycls publish agrees"

CROP_224 = "single crop 224, shorter side 256"
COUNT_224 = "at 224 pixels with 1000 classes"
COUNT_32 = "at 32 pixels with 10 classes"
TEN_RUNS = "mean of 10 runs, of best or of last epochs is not said"

TOP_1 = {"percent": ("top1_error_percent",)}
TOP_1_AND_5 = {"percent": ("top1_error_percent", "top5_error_percent")}
ROUNDED_PARAMS = {"million parameters": ("params_millions",)}
ROUNDED_COST = {"million parameters": ("params_millions",), "billion multiply-accumulates": ("macs_billions",)}

# Laid out by hand, like the tables themselves; a formatter would give every number a line.
# fmt: off
PUBLISHED = (
    # C and d change inner widths alone: the rest holds of every network, or of all that are as deep.
    Published(
        table="Table 1", confidence="A", source=PAPER,
        quantities={"blocks": ("num_blocks_conv2", "num_blocks_conv3", "num_blocks_conv4", "num_blocks_conv5")},
        rows={COUNT_224: {
            "resnet50": (3, 4, 6, 3),
            "resnet101": (3, 4, 23, 3),
            "resnet200": (3, 24, 36, 3),
        }},
    ),
    Published(
        table="Table 1", confidence="A", source=PAPER,
        quantities={
            "pixels": ("stem_kernel_size", "stem_stride", "pool_kernel_size", "pool_stride"),
            "channels": ("stem_out_channels",),
            "classes": ("num_classes",),
        },
        rows={COUNT_224: {"every depth": (7, 2, 3, 2, 64, 1000)}},
    ),
    Published(
        table="Table 1", confidence="A", source=PAPER,
        quantities={
            "pixels": ("output_size_conv2", "output_size_conv3", "output_size_conv4", "output_size_conv5"),
            "channels": ("out_channels_conv2", "out_channels_conv3", "out_channels_conv4", "out_channels_conv5"),
        },
        rows={COUNT_224: {"every depth": (56, 28, 14, 7, 256, 512, 1024, 2048)}},
    ),
    Published(
        table="Table 1", confidence="A", source=PAPER,
        quantities={"pixels": ("stride_conv3", "stride_conv4", "stride_conv5")},
        rows={"in the 3x3 of the stage's first block": {"every depth": (2, 2, 2)}},
    ),
    Published(
        table="Table 1", confidence="A", source=PAPER,
        quantities={"channels": (
            "inner_channels_conv2", "inner_channels_conv3", "inner_channels_conv4", "inner_channels_conv5",
        )},
        rows={COUNT_224: {"resnext50_32x4d": (128, 256, 512, 1024)}},
    ),
    Published(
        table="Table 1", confidence="B", source=PAPER,
        quantities=ROUNDED_COST,
        rows={COUNT_224: {"resnet50": (25.5, 4.1), "resnext50_32x4d": (25.0, 4.2)}},
    ),
    Published(
        table="Table 2", confidence="A", source=PAPER,
        quantities={"channels": ("base_width", "inner_channels")},
        rows={"a block of conv2": {
            "resnet50": (64, 64),
            "resnext50_2x40d": (40, 80),
            "resnext50_4x24d": (24, 96),
            "resnext50_8x14d": (14, 112),
            "resnext50_32x4d": (4, 128),
        }},
    ),
    Published(
        table="Table 2", confidence="A", source=PAPER,
        quantities={
            "thousand weights": ("template_weights_thousands",),
            "billion multiply-accumulates": ("template_macs_billions",),
        },
        rows={"a block of conv2, about": {"every template": (70, 0.22)}},
    ),
    Published(
        table="Table 2", confidence="C", source="calculated from Eq. 4",
        quantities={"weights": ("template_weights",)},
        rows={"a block of conv2": {
            "resnet50": (69_632,),
            "resnext50_2x40d": (69_760,),
            "resnext50_4x24d": (69_888,),
            "resnext50_8x14d": (71_456,),
            "resnext50_32x4d": (70_144,),
        }},
    ),
    Published(
        table="Table 3", data="imagenet-1k", confidence="A", source=PAPER,
        quantities=TOP_1,
        rows={CROP_224: {
            "resnet50": (23.9,), "resnet101": (22.0,),
            "resnext50_2x40d": (23.0,), "resnext101_2x40d": (21.7,),
            "resnext50_4x24d": (22.6,), "resnext101_4x24d": (21.4,),
            "resnext50_8x14d": (22.3,), "resnext101_8x14d": (21.3,),
            "resnext50_32x4d": (22.2,), "resnext101_32x4d": (21.2,),
        }},
    ),
    Published(
        table="Training error", data="imagenet-1k", confidence="A", source=PAPER,
        quantities={"percent": ("train_error_percent",)},
        rows={"of training images": {"resnet101": (20,), "resnext101_32x4d": (16,)}},
    ),
    # The ResNet-200 comes from another repository, and normalises before it convolves; `resnet200` here does not.
    Published(
        table="Table 4", data="imagenet-1k", confidence="A", source=PAPER,
        quantities=TOP_1_AND_5,
        rows={
            CROP_224: {
                "resnet101": (22.0, 6.0), "resnext101_32x4d": (21.2, 5.6),
                "resnet101_1x100d": (21.3, 5.7),
                "resnext101_2x64d": (20.7, 5.5), "resnext101_64x4d": (20.4, 5.3),
            },
            "single crop 224, shorter side 256, pre-activation": {"resnet200": (21.7, 5.8)},
        },
    ),
    Published(
        table="Table 4", data="imagenet-1k", confidence="A", source=PAPER,
        quantities={"percentage points": ("top1_error_change_points",)},
        rows={"from resnet101": {
            "resnet200": (-0.3,),
            "resnet101_1x100d": (-0.7,),
            "resnext101_2x64d": (-1.3,), "resnext101_64x4d": (-1.6,),
        }},
    ),
    Published(
        table="Shortcuts", data="imagenet-1k", confidence="A", source=PAPER,
        quantities=TOP_1,
        rows={
            "with shortcuts": {"resnet50": (23.9,), "resnext50_32x4d": (22.2,)},
            "without shortcuts": {"resnet50": (31.2,), "resnext50_32x4d": (26.1,)},
        },
    ),
    Published(
        table="Table 5", data="imagenet-1k", confidence="B", source=PAPER,
        quantities=TOP_1_AND_5,
        rows={
            CROP_224: {"resnet101": (22.0, 6.0), "resnet200": (21.7, 5.8), "resnext101_64x4d": (20.4, 5.3)},
            "single crop 320": {"resnet200": (20.1, 4.8), "resnext101_64x4d": (19.1, 4.4)},
            "single crop 299": {
                "Inception-v3": (21.2, 5.6), "Inception-v4": (20.0, 5.0), "Inception-ResNet-v2": (19.9, 4.9),
            },
        },
    ),
    Published(
        table="Table 6", data="imagenet-5k", confidence="B", source=PAPER,
        quantities=TOP_1_AND_5,
        rows={
            "5K-way": {
                "resnet50": (45.5, 19.4), "resnext50_32x4d": (42.3, 16.8),
                "resnet101": (42.4, 16.9), "resnext101_32x4d": (40.1, 15.1),
            },
            "1K-way": {
                "resnet50": (27.1, 8.2), "resnext50_32x4d": (24.4, 6.6),
                "resnet101": (24.2, 6.8), "resnext101_32x4d": (22.2, 5.7),
            },
        },
    ),
    Published(
        table="Table 7", confidence="A", source=PAPER,
        quantities=ROUNDED_PARAMS,
        rows={"at 32 pixels": {"WRN-28-10": (36.5,), "resnext29_8x64d": (34.4,), "resnext29_16x64d": (68.1,)}},
    ),
    Published(
        table="Table 7", data="cifar10", confidence="A", source=PAPER,
        quantities=TOP_1,
        rows={TEN_RUNS: {"WRN-28-10": (4.17,), "resnext29_8x64d": (3.65,), "resnext29_16x64d": (3.58,)}},
    ),
    Published(
        table="Table 7", data="cifar100", confidence="A", source=PAPER,
        quantities=TOP_1,
        rows={TEN_RUNS: {"WRN-28-10": (20.50,), "resnext29_8x64d": (17.77,), "resnext29_16x64d": (17.31,)}},
    ),
    Published(
        table="Table 8", data="coco-minival", confidence="B", source=PAPER,
        quantities={"percent": ("ap50_percent", "ap_percent")},
        rows={"Faster R-CNN": {
            "resnet50": (47.6, 26.5), "resnext50_32x4d": (49.7, 27.5),
            "resnet101": (51.1, 29.8), "resnext101_32x4d": (51.9, 30.0),
        }},
    ),
    Published(
        table="Timing", confidence="A", source=PAPER,
        quantities={"seconds": ("seconds_per_batch",)},
        rows={"training on 8 M40 GPUs": {"resnet101": (0.70,), "resnext101_32x4d": (0.95,)}},
    ),
    Published(
        table="Complexity", confidence="C", source=COUNTS,
        quantities={"parameters": ("params",), "multiply-accumulates": ("macs",)},
        rows={
            COUNT_224: {
                "resnet50": (25_557_032, 4_089_184_256),
                "resnext50_32x4d": (25_028_904, 4_230_479_872),
                "resnet101": (44_549_160, 7_801_405_440),
                "resnext101_32x4d": (44_177_704, 7_969_996_800),
                "resnext101_64x4d": (83_455_272, 15_460_270_080),
                "resnext101_32x8d": (88_791_336, 16_414_015_488),
            },
            COUNT_32: {
                "resnext29_8x64d": (34_426_698, 5_387_266_048),
                "resnext29_16x64d": (68_155_210, 10_688_866_304),
            },
        },
    ),
    Published(
        table="Complexity", confidence="C", source=COUNTS,
        quantities=ROUNDED_COST,
        rows={COUNT_224: {
            "resnext50_2x40d": (25.425, 4.125), "resnext101_2x40d": (44.456, 7.844),
            "resnext50_4x24d": (25.293, 4.160), "resnext101_4x24d": (44.363, 7.886),
            "resnext50_8x14d": (25.603, 4.267), "resnext101_8x14d": (45.104, 8.077),
            "resnet200": (64.67, 15.01),
            "resnet101_1x100d": (85.61, 15.27), "resnext101_2x64d": (84.20, 15.12),
            "resnext152_32x4d": (59.95, 11.71),
        }},
    ),
    # All were called "FLOPs". The first is `macs` above, the last is twice that; of the others nobody says.
    Published(
        table="Complexity", confidence="C", source="published counts of one network", by="various sources",
        quantities={"billion operations": ("operations_billions",)},
        rows={
            "a multiply-accumulate as one": {"resnext50_32x4d": (4.23,)},
            "not said how": {"resnext50_32x4d": (4.27,)},
            "not said how, about": {"resnext50_32x4d": (4.1,)},
            "a multiply-accumulate as two": {"resnext50_32x4d": (8.46,)},
        },
    ),
    Published(
        table="Reproductions", data="imagenet-1k", confidence=None, by="users of PyTorch's common example",
        source="runs that end before the rate drops a third time",
        quantities=TOP_1,
        rows={"90 epochs": {"resnext50_32x4d": (23.5,)}},
    ),
    Published(
        table="Reproductions", data="imagenet-1k", confidence=None, by="various sources",
        source="published elsewhere",
        quantities=TOP_1,
        rows={
            "100 epochs, no colour jitter, no PCA lighting": {"resnext50_32x4d": (22.1,)},
            "cosine schedule": {"resnext50_32x4d": (21.9,)},
            "a modern recipe of 600 epochs": {"resnext50_32x4d": (18.8,)},
            "a modern recipe": {"resnext101_64x4d": (17.0,)},
        },
    ),
    Published(
        table="Reproductions", data="cifar10", confidence=None, by="third parties",
        source="runs of third parties",
        quantities=TOP_1,
        rows={
            "last epoch, lowest of several runs": {"resnext29_8x64d": (3.9,)},
            "last epoch, highest of several runs": {"resnext29_8x64d": (4.0,)},
        },
    ),
    Published(
        table="Reproductions", data="cifar10", confidence=None, by="another framework",
        source="the log of a run",
        quantities=TOP_1,
        rows={"last epoch": {"resnext29_16x64d": (3.80,)}, "best epoch": {"resnext29_16x64d": (3.67,)}},
    ),
    Published(
        table="Reproductions", data="cifar10", confidence=None, by="a third group",
        source="predictions that were published, and scored",
        quantities=TOP_1,
        rows={"best or last epoch is not said": {"resnext29_4x64d": (3.61,), "resnext29_8x64d": (3.77,)}},
    ),
)
