import pytest

from resnext.spec.complexity import solve_width
from resnext.spec.value import SpecError
from resnext.study.sweep import read_sweep

RECIPE = """\
recipe = "paper-cifar"
"""


@pytest.fixture
def sweep(tmp_path):
    def read(text):
        path = tmp_path / "width.toml"
        path.write_text(text)
        return read_sweep(path)

    return read


def test_every_combination_of_the_axes_is_a_setting(sweep):
    study = sweep(RECIPE + "[axes]\ncardinality = [1, 8]\noptimiser.learning_rate = [0.05, 0.1, 0.2]\n")
    assert [setting.name for setting in study.settings] == [
        "cardinality 1, learning_rate 0.05",
        "cardinality 1, learning_rate 0.1",
        "cardinality 1, learning_rate 0.2",
        "cardinality 8, learning_rate 0.05",
        "cardinality 8, learning_rate 0.1",
        "cardinality 8, learning_rate 0.2",
    ]
    last = study.settings[-1].recipe
    assert (last.network().name, last.optimiser.learning_rate) == ("resnext29_8x64d", 0.2)
    assert study.name == "width"


def test_axes_by_quoted_dotted_names_are_the_same(sweep):
    plain, quoted = (
        sweep(f"{RECIPE}[axes]\n{key} = [0.05, 0.1]\n")
        for key in ("optimiser.learning_rate", '"optimiser.learning_rate"')
    )
    assert plain.settings == quoted.settings


def test_complexity_stays_that_of_the_network_it_is_like(sweep):
    study = sweep(RECIPE + 'model = "resnext29_8x64d"\nlike = "resnet29"\n[axes]\ncardinality = [1, 2, 32]\n')
    widths = {setting.recipe.network().cardinality: setting.recipe.network().base_width for setting in study.settings}
    assert widths == {paths: solve_width(cardinality=paths, like="resnet29") for paths in (1, 2, 32)}


def test_depth_width_and_form_are_axes(sweep):
    study = sweep(RECIPE + '[axes]\ndepth = [20, 29]\nwidth = [8]\nform = ["grouped", "aggregated"]\n')
    found = {(setting.recipe.network().name, setting.form) for setting in study.settings}
    assert found == {
        (name, form) for name in ("resnext20_8x8d", "resnext29_8x8d") for form in ("grouped", "aggregated")
    }


def test_what_is_set_holds_for_every_setting(sweep):
    study = sweep(
        RECIPE
        + "[set]\nepochs = 7\nimage.size = 16\n[set.architecture]\nbase_channels = 16\n[axes]\ncardinality = [1, 2]\n"
    )
    for setting in study.settings:
        assert (setting.recipe.epochs, setting.recipe.image.size) == (7, 16)
        assert setting.recipe.network().base_channels == 16


def test_the_network_is_left_to_the_recipe_where_no_axis_varies_it(sweep):
    study = sweep('recipe = "quick"\n[axes]\nlabel_smoothing = [0.0, 0.1]\n')
    assert {setting.recipe.model for setting in study.settings} == {"auto"}


def test_each_setting_is_compared_with_the_first_and_nobody_has_claimed_anything(sweep):
    study = sweep(RECIPE + "[axes]\ncardinality = [1, 2, 4]\n")
    assert [contrast.name for contrast in study.contrasts] == [
        "cardinality 2 against cardinality 1",
        "cardinality 4 against cardinality 1",
    ]
    assert all(contrast.expects is None and not contrast.decides for contrast in study.contrasts)
    assert study.claim == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[axes]\n", "axes = {}: at least one is needed"),
        ("", "axes is missing"),
        ("[axes]\ncardinality = 8\n", "axes.cardinality = 8: a list of values is needed"),
        ("[axes]\ncardinality = []\n", r"axes.cardinality = \[\]: a list of values is needed"),
        ("[axes]\noptimizer.rate = [1]\n", "unknown key 'optimizer.rate'; did you mean"),
        ("[set]\nepoch = 3\n[axes]\ncardinality = [1]\n", "unknown key 'epoch'; did you mean 'epochs'"),
        ("[axes]\nwidth = [4]\n", "recipe 'quick' leaves the model open; name the one that the axes vary: model = ..."),
        ('like = "resnet29"\n[axes]\nwidth = [4]\n', "like = 'resnet29' already solves the width"),
        (f"[axes]\nepochs = {list(range(1, 1002))}\n", "1,001 settings are more than the 1,000"),
        ("[axes]\nepochs = [1, 0]\n", "epochs"),
        ('model = "vgg16"\n[axes]\ncardinality = [1]\n', "name = 'vgg16'"),
        ("model = 'resnet29'\n[axes]\ncardinality = ['many']\n", "axes.cardinality: 'many' is no whole number"),
        ("like = 'resnet29'\n[axes]\ncardinality = [1.5]\n", "axes.cardinality: 1.5 is no whole number"),
        ("like = 'resnet29'\n[axes]\nmodel = ['resnet29']\n", "model: model, like or the axes"),
        ("[set]\narchitecture.cardinality = 4\n[axes]\ncardinality = [1]\n", "architecture.cardinality: model, like"),
        ('form = "x"\n[axes]\ncardinality = [1]\n', "unknown field 'form': the fields are recipe, model, like"),
        ('[axes]\nform = ["x"]\n', "form = 'x'"),
        ("[axes\n", "not valid TOML"),
        ('recipe = "nope"\n[axes]\nepochs = [1]\n', "recipe nope: there is none of that name"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence_that_names_the_file(sweep, text, said):
    with pytest.raises(SpecError, match=said) as caught:
        sweep(text)
    assert "width.toml: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(SpecError, match=r"nothing.toml cannot be read"):
        read_sweep(tmp_path / "nothing.toml")


def test_a_study_keeps_the_file_that_it_is_of(sweep):
    text = f"{RECIPE}[axes]\ncardinality = [1, 2]\n"
    assert sweep(text).sweep == text
