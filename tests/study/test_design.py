import pytest
from tests.study.conftest import recipe

from resnext.spec.value import SpecError
from resnext.study.claims import find
from resnext.study.design import Contrast, Setting, Study, protocol_of, trials
from resnext.study.experiments import CARDINALITIES, EXPERIMENTS, study_of
from resnext.study.scale import read_scale, scale_names

SCALES = [read_scale(name) for name in scale_names()]


def made(name, scale="cifar-small"):
    return study_of(name, read_scale(scale))


@pytest.mark.parametrize("scale", SCALES, ids=lambda scale: scale.name)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_can_be_asked_at_every_scale(name, scale):
    study = study_of(name, scale)
    assert study.settings
    assert study.contrasts
    assert "?" in study.question
    assert Study.from_json(study.to_json()) == study


def test_the_settings_of_table_3_in_small_are_those_of_equal_template_weights():
    assert [setting.name for setting in made("table3").settings] == [
        "resnet11_1x32d",
        "resnext11_2x20d",
        "resnext11_4x12d",
        "resnext11_8x7d",
        "resnext11_32x2d",
    ]


def test_the_settings_of_table_3_on_imagenet_are_the_papers():
    named = [setting.name for setting in made("table3", "imagenet").settings]
    assert named == [setting.answers.setting for setting in made("table3", "imagenet").settings]
    assert named[4:6] == ["resnext50_32x4d", "resnet101"]


def test_the_settings_of_table_4_on_imagenet_are_the_papers():
    settings = made("table4", "imagenet").settings
    assert [setting.name for setting in settings] == [setting.answers.setting for setting in settings]


def test_a_proxy_is_called_one_and_the_papers_own_question_is_not():
    assert made("table7", "cifar").is_proxy is False
    assert made("table3", "cifar").is_proxy is True
    assert made("table7", "cifar-small").is_proxy is True
    assert made("table3", "imagenet").is_proxy is False


def test_the_slope_of_table_3_is_the_least_squares_slope_on_the_logarithm_of_c():
    study = made("table3")
    slope = study.contrasts[-1].weights
    falling = {setting.name: 30.0 - 2.5 * place for place, setting in zip((0, 1, 2, 3, 5), study.settings, strict=True)}
    assert len(falling) == len(CARDINALITIES)
    assert sum(slope[name] * value for name, value in falling.items()) == pytest.approx(-2.5)


def test_what_tells_most_comes_first_for_every_seed():
    study = Study(
        name="s",
        scale="digits",
        title="S",
        question="?",
        claim="",
        data="digits",
        is_proxy=True,
        settings=[
            Setting(name=name, recipe=recipe(f"resnet11_1x{width}d"))
            for name, width in zip("abc", (2, 3, 4), strict=True)
        ],
        contrasts=[
            Contrast(name="first", weights={"a": -1.0, "c": 1.0}, decides=False),
            Contrast(name="all", weights={"a": -1.0, "b": 0.1, "c": 1.0}),
        ],
    )
    by_width = {2: "a", 3: "b", 4: "c"}
    order = [(by_width[trial.recipe.network().base_width], trial.seed) for trial in trials(study, 2)]
    assert order == [("a", 0), ("c", 0), ("a", 1), ("c", 1), ("b", 0), ("b", 1)]


def test_settings_that_differ_in_what_is_looked_at_share_a_run():
    assert len(trials(resolved(made("protocols", "digits")), 2)) == 2 * 2
    assert {trial.views for trial in trials(resolved(made("protocols", "digits")), 1)} == {frozenset({"larger", "ten"})}


def test_settings_that_differ_in_form_are_runs_of_their_own():
    assert [trial.form for trial in trials(resolved(made("forms")), 1)] == ["concatenated", "grouped", "aggregated"]


def resolved(study):
    colours = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    settings = [
        setting.replace(recipe=setting.recipe.replace(image=setting.recipe.image.replace(**colours)))
        for setting in study.settings
    ]
    return study.replace(settings=settings)


def test_larger_images_are_larger_in_the_papers_proportion():
    protocol = protocol_of("larger", recipe(image={"size": 224, "crop_fraction": 0.875}))
    assert (protocol.preprocessing.image_size, protocol.preprocessing.resize_size) == (320, 366)
    assert protocol_of("single", recipe()).preprocessing.image_size == 8


def test_ten_crops_differ_where_the_recipe_crops_nothing_and_are_the_papers_where_it_crops():
    sides = []
    for image in ({"size": 8}, {"size": 224, "crop_fraction": 0.875}, {"size": 224, "crop_fraction": 0.7}):
        protocol = protocol_of("ten", recipe(image=image))
        assert protocol.num_views == 10
        sides.append((protocol.preprocessing.image_size, protocol.preprocessing.resize_size))
    assert sides == [(8, 9), (224, 256), (224, 320)]


def test_a_study_of_some_settings_keeps_the_contrasts_that_they_suffice_for():
    some = made("table3").only(["resnet11_1x32d", "resnext11_32x2d"])
    assert [contrast.name for contrast in some.contrasts] == ["resnext11_32x2d against resnet11_1x32d"]
    with pytest.raises(SpecError, match=r"no setting of table3 is called 'x'; there are resnet11_1x32d, "):
        made("table3").only(["x"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": [Setting(name="a", recipe=recipe())] * 2}, "'a' stands twice"),
        ({"order": ("b",)}, "no setting is called 'b'; there are a"),
        ({"contrasts": [Contrast(name="c", weights={"b": 1.0})]}, "no setting is called 'b'"),
        ({"settings": []}, "settings"),
    ],
)
def test_a_study_that_names_what_is_not_there_is_refused(change, said):
    fields = made("table3").model_dump() | {
        "settings": [Setting(name="a", recipe=recipe())],
        "contrasts": (),
        "order": (),
    }
    with pytest.raises(SpecError, match=said):
        Study(**{**fields, **change})


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_setting_stands_beside_a_figure_that_was_published(name):
    for scale in SCALES:
        for setting in study_of(name, scale).settings:
            assert setting.answers is None or find(**setting.answers.model_dump()) is not None


def test_an_unknown_experiment_or_scale_is_answered_with_those_there_are():
    with pytest.raises(SpecError, match="'table9': there is none of that name; there are table3, table4"):
        made("table9")
    with pytest.raises(SpecError, match="scale = 'huge': there is none of that name; there are digits, cifar-small"):
        read_scale("huge")
