"""`study/paper.py` against the page of the paper's numbers, which lies beside the repository where it is developed.

Each number of the page is taken out of its text by the words around it, and none may be left over. Compared are value
and confidence, under table, data, protocol, setting and quantity.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from resnext.spec.architecture import architecture
from resnext.study import paper
from resnext.study.claims import claims

ROOT = Path(__file__).parents[2]
PAGE = ROOT.parent / "shared" / "PAPER.md"

Where = tuple[str, str | None, str]
Grade = str | None
Entry = tuple[tuple[Where, str, str], tuple[float, Grade]]

NUMBER = r"(\N{MINUS SIGN}?\d+(?:,\d{3})*(?:\.\d+)?)"
NETWORK = r"([RX]-\d+(?: \d+x\d+d)?)"
STAGES = ("conv2", "conv3", "conv4", "conv5")
COST = ("params", "macs")
ROUNDED = ("params_millions", "macs_billions")
TOP_1 = ("top1_error_percent",)
TOP_1_AND_5 = ("top1_error_percent", "top5_error_percent")
IN_1K = "imagenet-1k"

OTHER = {digit: str((int(digit) + 1) % 10) for digit in "0123456789"}

DATA = (
    *(ast.Module, ast.Expr, ast.ImportFrom, ast.alias, ast.Assign, ast.Name, ast.expr_context, ast.Constant),
    *(ast.Tuple, ast.Dict, ast.Call, ast.keyword, ast.UnaryOp, ast.USub),
)


class Prose:
    """A text, and what is left of it when numbers have been taken out."""

    def __init__(self, text: str) -> None:
        self.left = " ".join(text.split())

    def take(self, words: str) -> list[float]:
        """Take out the one passage of these words, in which every <n> is a number, and return its numbers."""
        [groups] = self._take(words)
        return [value(group) for group in groups]

    def take_rows(self, words: str) -> dict[str, list[float]]:
        """Take out every passage of these words, which start with a network <net>, and return the numbers of each."""
        return {network(net): [value(group) for group in groups] for net, *groups in self._take(words)}

    def end(self) -> None:
        assert not re.search(r"\d", self.left), f"nobody has taken the numbers of {self.left!r}"

    def _take(self, words: str) -> list[tuple[str, ...]]:
        pattern = re.escape(words).replace("<n>", NUMBER).replace("<net>", NETWORK)
        groups = [match.groups() for match in re.finditer(pattern, self.left)]
        assert groups, f"{words!r} is not in {self.left!r}"
        self.left = re.sub(pattern, "_", self.left)
        return groups


def value(text: str) -> float:
    return float(text.replace(",", "").replace("\N{MINUS SIGN}", "-"))


def network(text: str) -> str:
    """Return the name of `X-101 64x4d` in the grammar of names; an X without C and d is 32x4d, an R 1x64d."""
    parsed = re.fullmatch(r"([RX])-(\d+)(?: (\d+)x(\d+)d)?", text)
    assert parsed, text
    family, depth, cardinality, width = parsed.groups()
    default = ("1", "64") if family == "R" else ("32", "4")
    return template(
        int(depth), *(int(given or usual) for given, usual in zip((cardinality, width), default, strict=True))
    )


def template(depth: int, cardinality: int, base_width: int) -> str:
    return architecture(f"resnet{depth}", cardinality=cardinality, base_width=base_width).name


def section(page: str, title: str) -> list[str]:
    """Return the paragraphs and tables of a section."""
    [body] = re.findall(rf"^## {title}[^\n]*\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    return str(body).strip().split("\n\n")


def paragraph(page: str, label: str) -> tuple[Prose, str]:
    """Return the paragraph of the tables' section that has this label, and the confidence beside it."""
    found = [re.match(rf"(?:\*\*)?{label}(?:\*\*)? \(([^)]+)\)", block) for block in section(page, "Tables")]
    [match] = [match for match in found if match]
    return Prose(match.string[match.end() :]), match[1]


def cells(page: str, title: str, number: int) -> list[list[str]]:
    """Return one of a section's tables, without the line under its head."""
    table = [block for block in section(page, title) if block.startswith("|")][number]
    head, _, *lines = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
    return [head, *lines]


def rows(where: Where, grade: Grade, quantities: tuple[str, ...], of: Mapping[str, list[float]]) -> Iterator[Entry]:
    for setting, numbers in of.items():
        for quantity, number in zip(quantities, numbers, strict=True):
            yield (where, setting, quantity), (number, grade)


def crop_224(page: str) -> str:
    [(side, size)] = re.findall(r"^\| evaluation \| shorter side (\d+), centre (\d+); single crop \| A \|$", page, re.M)
    return f"single crop {size}, shorter side {side}"


def table_1(page: str) -> Iterator[Entry]:
    text, grade = paragraph(page, "Table 1")
    assert grade == "structure A, totals B"
    where = ("Table 1", None, "at 224 pixels with 1000 classes")
    kernel, kernel_again, channels, stride = text.take("stem <n>x<n>/<n> stride <n>")
    pool, pool_again, pool_stride = text.take("<n>x<n> max-pool stride <n>")
    assert (kernel, pool) == (kernel_again, pool_again)
    [classes] = text.take("<n>-way linear")
    stem = {"stem_kernel_size": kernel, "stem_stride": stride, "stem_out_channels": channels, "num_classes": classes}
    stem |= {"pool_kernel_size": pool, "pool_stride": pool_stride}
    yield from rows(where, "A", tuple(stem), {"every depth": [*stem.values()]})
    depths = text.take("conv2..conv5 of <n>-<n>-<n>-<n> (50), <n>-<n>-<n>-<n> (101), <n>-<n>-<n>-<n> (200) blocks")
    depths_of = {"resnet50": depths[:4], "resnet101": depths[4:8], "resnet200": depths[8:]}
    yield from rows(where, "A", per_stage("num_blocks"), depths_of)
    yield from rows(where, "A", per_stage("output_size"), {"every depth": text.take("at <n>, <n>, <n>, <n> pixels")})
    outputs = text.take("block outputs <n>, <n>, <n>, <n>")
    yield from rows(where, "A", per_stage("out_channels"), {"every depth": outputs})
    inner = text.take("32x4d inner widths <n>, <n>, <n>, <n>")
    yield from rows(where, "A", per_stage("inner_channels"), {"resnext50_32x4d": inner})
    strides = text.take("Stride <n> is in the **3x3** of the first block of conv3, conv4, conv5") * 3
    place = ("Table 1", None, "in the 3x3 of the stage's first block")
    yield from rows(place, "A", per_stage("stride")[1:], {"every depth": strides})
    r, x = network("R-50"), network("X-50")
    totals = text.take("R-50 <n> M params, <n> G; X-50 <n> M, <n> G multiply-adds")
    yield from rows(where, "B", ROUNDED, {r: totals[:2], x: totals[2:]})
    text.end()


def per_stage(quantity: str) -> tuple[str, ...]:
    return tuple(f"{quantity}_{stage}" for stage in STAGES)


def table_2(page: str) -> Iterator[Entry]:
    text, grade = paragraph(page, "Table 2")
    about = text.take("conv2 template at about <n> k params and <n> G multiply-adds")
    quantities = ("template_weights_thousands", "template_macs_billions")
    yield from rows(("Table 2", None, "a block of conv2, about"), grade, quantities, {"every template": about})
    text.end()
    names, *columns = zip(*cells(page, "Tables", 0), strict=True)
    assert names == ("C", "d", "width of the grouped conv", "exact weights (C)")
    for column in columns:
        cardinality, width, inner, weights = (value(cell) for cell in column)
        setting, where = template(50, int(cardinality), int(width)), ("Table 2", None, "a block of conv2")
        yield from rows(where, grade, ("base_width", "inner_channels"), {setting: [width, inner]})
        yield from rows(where, "C", ("template_weights",), {setting: [weights]})


def table_3(page: str) -> Iterator[Entry]:
    text, grade = paragraph(page, "Table 3")
    assert text.take("ImageNet-<n>K top-<n> error %, single <n> crop, equal complexity") == [1, 1, 224]
    text.end()
    [_, *templates], *lines = cells(page, "Tables", 1)
    for label, *errors in lines:
        [depth] = Prose(label).take("<n> layers")
        of = {network(f"X-{depth:.0f} {name}"): [value(error)] for name, error in zip(templates, errors, strict=True)}
        yield from rows(("Table 3", IN_1K, crop_224(page)), grade, TOP_1, of)
    text, grade = paragraph(page, "Training error")
    of = text.take_rows("<net> <n> %")
    yield from rows(("Training error", IN_1K, "of training images"), grade, ("train_error_percent",), of)
    text.end()


def table_4(page: str) -> Iterator[Entry]:
    text, grade = paragraph(page, "Table 4")
    text.take("top-1/top-5 error at twice the complexity")
    of = text.take_rows("<net> <n>/<n>")
    deeper, wider, narrow, more = map(network, ("R-200", "R-101 1x100d", "X-101 2x64d", "X-101 64x4d"))
    assert "Table 4's ResNet-200 is the pre-activation net" in page
    pre_activation = {deeper: of.pop(deeper)}
    yield from rows(("Table 4", IN_1K, crop_224(page)), grade, TOP_1_AND_5, of)
    yield from rows(("Table 4", IN_1K, f"{crop_224(page)}, pre-activation"), grade, TOP_1_AND_5, pre_activation)
    changes = text.take("So depth <n>, width <n>, cardinality <n> / <n>")
    of = {name: [change] for name, change in zip((deeper, wider, narrow, more), changes, strict=True)}
    yield from rows(("Table 4", IN_1K, "from resnet101"), grade, ("top1_error_change_points",), of)
    text.end()


def shortcuts(page: str) -> Iterator[Entry]:
    text, grade = paragraph(page, "Shortcuts removed")
    of = text.take_rows("<net> <n> → <n>")
    for column, protocol in enumerate(("with shortcuts", "without shortcuts")):
        where = ("Shortcuts", IN_1K, protocol)
        yield from rows(where, grade, TOP_1, {name: [errors[column]] for name, errors in of.items()})
    text.end()


def table_5(page: str) -> Iterator[Entry]:
    text, grade = paragraph(page, "Table 5")
    head, *parts = re.split(r"at (\d+):", text.left)
    assert head.strip(" ,:") == "top-1/top-5"
    sizes = dict(zip(parts[::2], map(Prose, parts[1::2]), strict=True))
    for size, part in sizes.items():
        protocol = crop_224(page) if size == "224" else f"single crop {size}"
        if size == "299":
            inception = part.take("Inception-v3 <n>/<n>, v4 <n>/<n>, Inception-ResNet-v2 <n>/<n>")
            of = {"Inception-v3": inception[:2], "Inception-v4": inception[2:4], "Inception-ResNet-v2": inception[4:]}
        else:
            of = part.take_rows("<net> <n>/<n>")
        yield from rows(("Table 5", IN_1K, protocol), grade, TOP_1_AND_5, of)
        part.end()


def table_6(page: str) -> Iterator[Entry]:
    text, grade = paragraph(page, "Table 6")
    data, more, fewer = (f"{number:.0f}" for number in text.take("trained on ImageNet-<n>K; <n>K-way and <n>K-way"))
    text.take("top-1/top-5:")
    of = text.take_rows("<net> <n>/<n>, <n>/<n>")
    for first, ways in ((0, more), (2, fewer)):
        where = ("Table 6", f"imagenet-{data}k", f"{ways}K-way")
        yield from rows(where, grade, TOP_1_AND_5, {name: errors[first : first + 2] for name, errors in of.items()})
    text.end()


def table_7(page: str) -> Iterator[Entry]:
    text, grade = paragraph(page, "Table 7")
    *classes, num_runs = (f"{number:.0f}" for number in text.take("CIFAR-<n>/<n> test error %, mean of <n> runs"))
    names = ["WRN-28-10", "resnext29_8x64d", "resnext29_16x64d"]
    numbers = text.take("WRN-28-10 <n> M <n>/<n>; ResNeXt-29 8x64d <n> M <n>/<n>; 16x64d <n> M <n>/<n>")
    of = {name: numbers[3 * index : 3 * index + 3] for index, name in enumerate(names)}
    yield from rows(("Table 7", None, "at 32 pixels"), grade, ROUNDED[:1], {name: row[:1] for name, row in of.items()})
    protocol = f"mean of {num_runs} runs, of best or of last epochs is not said"
    assert "the paper does not say best or last" in page
    for column, number in enumerate(classes, start=1):
        where = ("Table 7", f"cifar{number}", protocol)
        yield from rows(where, grade, TOP_1, {name: [row[column]] for name, row in of.items()})
    text.end()


def table_8(page: str) -> Iterator[Entry]:
    text, grade = paragraph(page, "Table 8")
    text.take("COCO minival AP@0.5 / AP, Faster R-CNN")
    of = text.take_rows("<net> <n>/<n>")
    yield from rows(("Table 8", "coco-minival", "Faster R-CNN"), grade, ("ap50_percent", "ap_percent"), of)
    text.end()


def timing(page: str) -> Iterator[Entry]:
    text, grade = paragraph(page, "Timing")
    text.take("Figures 5-7")
    [num_devices] = text.take("<n> M40")
    of = text.take_rows("<net> <n> s")
    where = ("Timing", None, f"training on {num_devices:.0f} M40 GPUs")
    yield from rows(where, grade, ("seconds_per_batch",), of)
    text.end()


def counts(page: str) -> Iterator[Entry]:
    [grade] = re.findall(r"^## Exact complexity \(([ABC]);", page, re.M)
    head, _, prose = section(page, "Exact complexity")
    text = Prose(head)
    size, small_size = (f"{number:.0f}" for number in text.take("at <n> (<n> for CIFAR) without biases"))
    text.end()
    where = ("Complexity", None, f"at {size} pixels with 1000 classes")
    where_small = ("Complexity", None, f"at {small_size} pixels with 10 classes")
    titles, *lines = cells(page, "Exact complexity", 0)
    assert titles == ["", "params", "MACs"]
    for label, *numbers in lines:
        name = re.sub(r" = 1x64d$|, 10 classes$", "", label)
        here = where_small if label.endswith(", 10 classes") else where
        yield from rows(here, grade, COST, {name: [value(number) for number in numbers]})
    text = Prose(prose)
    yield from rows(where, grade, ROUNDED, rounded(text))
    yield from operations(text, grade)
    text.end()


def rounded(text: Prose) -> dict[str, list[float]]:
    row = r"(\d+x\d+d) <n>/<n>".replace("<n>", NUMBER)
    found = {
        network(f"X-{depth} {name}"): [value(params), value(macs)]
        for depth, line in re.findall(r"(\d+) layers ([^;]*);", text.left)
        for name, params, macs in re.findall(row, line)
    }
    text.left = re.sub(rf"\d+ layers {row}, {row}, {row};", "_", text.left)
    for words, name in (
        ("resnet200 <n>/<n>", "resnet200"),
        ("resnet101 1x100d <n>/<n>", "resnet101_1x100d"),
        ("resnext101 2x64d <n>/<n>", "resnext101_2x64d"),
        ("resnext152_32x4d <n>/<n>", "resnext152_32x4d"),
    ):
        found[name] = text.take(words)
    return found


def operations(text: Prose, grade: Grade) -> Iterator[Entry]:
    numbers = text.take('of one and the same X-50 are <n> G, <n> G, "~<n>" or <n> G')
    ways = ("a multiply-accumulate as one", "not said how", "not said how, about", "a multiply-accumulate as two")
    for way, number in zip(ways, numbers, strict=True):
        yield from rows(("Complexity", None, way), grade, ("operations_billions",), {network("X-50"): [number]})


def reproductions(page: str) -> Iterator[Entry]:
    [block] = section(page, "Traps")
    traps = [Prose(trap) for trap in re.split(r"^\d+\. ", block, flags=re.M)]
    [num_epochs] = traps[1].take("<n> epochs (the common PyTorch example)")
    reported, instead = traps[1].take("people then report <n> instead of <n>")
    [x_50] = [name for (_, name, _), (error, _) in table_3(page) if error == instead and "50_32x4d" in name]
    of_1k = {(f"{num_epochs:.0f} epochs", x_50): reported}
    plain, plain_epochs, cosine, modern, modern_epochs, modern_101 = traps[8].take(
        "X-50 <n> (<n> epochs, no jitter, no PCA), <n> (cosine), <n> (modern recipe, <n> epochs);"
        " X-101 64x4d <n> (modern)"
    )
    of_1k |= {
        (f"{plain_epochs:.0f} epochs, no colour jitter, no PCA lighting", x_50): plain,
        ("cosine schedule", x_50): cosine,
        (f"a modern recipe of {modern_epochs:.0f} epochs", x_50): modern,
        ("a modern recipe", network("X-101 64x4d")): modern_101,
    }
    lowest, highest = traps[4].take("Last-epoch third-party runs of 8x64d are <n>\N{EN DASH}<n>")
    num_classes, last, best = traps[8].take(
        "A CIFAR-<n> ResNeXt-29 16x64d log by another framework ends at <n> % (best <n>)"
    )
    small, middle = traps[8].take("4x64d and 8x64d predictions by a third group score <n> and <n>")
    of_cifar = {
        ("last epoch, lowest of several runs", template(29, 8, 64)): lowest,
        ("last epoch, highest of several runs", template(29, 8, 64)): highest,
        ("last epoch", template(29, 16, 64)): last,
        ("best epoch", template(29, 16, 64)): best,
        ("best or last epoch is not said", template(29, 4, 64)): small,
        ("best or last epoch is not said", template(29, 8, 64)): middle,
    }
    for data, of in ((IN_1K, of_1k), (f"cifar{num_classes:.0f}", of_cifar)):
        for (protocol, name), error in of.items():
            yield from rows(("Reproductions", data, protocol), None, TOP_1, {name: [error]})
    for number in (1, 4, 8):
        traps[number].end()


PARTS = (
    *(table_1, table_2, table_3, table_4, shortcuts, table_5, table_6, table_7, table_8, timing),
    *(counts, reproductions),
)


def numbers_of(page: str) -> dict[tuple[Where, str, str], tuple[float, Grade]]:
    """Return every number of the page, with its confidence, under the names that it has here."""
    entries = [entry for part in PARTS for entry in part(page)]
    found = dict(entries)
    assert len(found) == len(entries)
    return found


def held_numbers() -> dict[tuple[Where, str, str], tuple[float, Grade]]:
    return {
        ((claim.table, claim.data, claim.protocol), claim.setting, claim.quantity): (claim.value, claim.confidence)
        for claim in claims()
    }


def numbers_within(page: str) -> Iterator[re.Match[str]]:
    """Yield every number of the page that is to be held here."""
    for match in re.finditer(r"(?!^\d+\. )\d+(?:[.,]\d+)*", page, re.M):
        title = re.findall(r"^## (\w+)", page[: match.start()], re.M)[-1:]
        trap = re.findall(r"^(\d+)\. ", page[: match.start()], re.M)[-1:]
        if title in (["Tables"], ["Exact"]) or (title == ["Traps"] and trap in (["1"], ["4"], ["8"])):
            yield match


@pytest.fixture
def page() -> str:
    if not PAGE.is_file():
        pytest.skip("the page of the paper's numbers is not beside this repository")
    return PAGE.read_text(encoding="utf-8")


def test_every_number_of_the_page_is_held_and_no_other(page: str) -> None:
    assert held_numbers() == numbers_of(page)


def test_no_number_of_the_page_can_change_unnoticed(page: str) -> None:
    places = list(numbers_within(page))
    assert len(places) > len(claims())
    unnoticed = [
        place for place in places if is_same(page[: place.end() - 1] + OTHER[place[0][-1]] + page[place.end() :])
    ]
    assert [(place[0], page[place.start() - 30 : place.end() + 30]) for place in unnoticed] == []


def is_same(page: str) -> bool:
    try:
        return numbers_of(page) == held_numbers()
    except (AssertionError, LookupError, ValueError):
        return False


def test_the_file_holds_data_only() -> None:
    tree = ast.parse(Path(paper.__file__).read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert [type(node).__name__ for node in ast.walk(tree) if not isinstance(node, DATA)] == []
    assert {type(node) for node in tree.body[1:]} == {ast.ImportFrom, ast.Assign}
    assert {ast.unparse(node) for node in tree.body if isinstance(node, ast.ImportFrom)} == {
        "from resnext.study.published import Published"
    }
    assert {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)} == {"Published"}
    signed = [node.operand for node in ast.walk(tree) if isinstance(node, ast.UnaryOp)]
    assert all(isinstance(operand, ast.Constant) for operand in signed)
