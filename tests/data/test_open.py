import sys
from pathlib import Path

import pytest

from resnext.data.dataset import DataError
from resnext.data.open import open_data


@pytest.mark.parametrize(
    ("source", "module", "sentence"),
    [
        ("hf:any", "datasets", r"hf: needs datasets; pip install 'resnext\[hub\]'"),
        ("wds:any.tar", "webdataset", r"wds: needs webdataset; pip install 'resnext\[shards\]'"),
    ],
)
def test_a_missing_extra_is_a_sentence_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch, source: str, module: str, sentence: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=sentence):
        open_data(source)


@pytest.mark.parametrize("source", ["digits?colour=red", "nowhere?path=x", "nowhere.csv?path=x", "cifar10?root=x"])
def test_data_that_is_not_there_is_refused_with_the_names_there_are(source: str) -> None:
    with pytest.raises(
        DataError, match=r"no data at '.*'; data is named by 'digits', .* 'hf:NAME_OR_PATH' or 'wds:SHARDS'"
    ):
        open_data(source)


def test_a_folder_whose_name_looks_like_options_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "list.csv?label=x"
    folder.mkdir()
    with pytest.raises(DataError, match="found no images to train on in any class"):
        open_data(str(folder))
