"""RouterArena's prediction file: its fields, its order, and the router's own choices."""

import json

import pytest

from lookahead_sk.baselines import BestSingleRouter, KNNRouter
from lookahead_sk.integrations.routerarena import export_predictions


class Length:
    """An encoder that sees the length of a text alone."""

    def encode(self, texts, **options):
        return [[float(len(text)), 1.0] for text in texts]


@pytest.fixture(scope="module")
def router():
    prompts = ["x" * i for i in range(1, 21)]
    scores = [[float(i <= 10), float(i > 10)] for i in range(1, 21)]
    return KNNRouter(Length(), n_neighbors=1, lexical_features=0).fit(prompts, scores)


ENTRIES = [
    {"global index": "A_1", "prompt": "raw", "prompt_formatted": "y" * 3},
    {"global index": "B_7", "prompt": "y" * 18, "answer": "é"},
    {"global index": "C_2", "prompt": ""},
    {"prompt": "no index"},
]


@pytest.mark.parametrize("from_file", [False, True])
def test_the_file_has_the_choices_of_the_router(router, tmp_path, from_file):
    dataset = ENTRIES
    if from_file:
        dataset = tmp_path / "dataset.json"
        dataset.write_text(json.dumps(ENTRIES))
    names = {0: "gpt-4o-mini", 1: "gpt-4o"}
    path = tmp_path / "mine.json"
    assert export_predictions(router, dataset, path, names=names) == 2
    expected = router.predict(["y" * 3, "y" * 18]).tolist()
    empty = {"generated_result": None, "cost": None, "accuracy": None}
    assert json.loads(path.read_text(encoding="utf-8")) == [
        {"global index": "A_1", "prompt": "y" * 3, "prediction": names[expected[0]], **empty},
        {"global index": "B_7", "prompt": "y" * 18, "prediction": names[expected[1]], **empty},
    ]


def test_what_cannot_be_written_is_refused(router, tmp_path):
    path = tmp_path / "mine.json"
    with pytest.raises(ValueError, match="names must be a text for every model"):
        export_predictions(router, ENTRIES, path)
    with pytest.raises(ValueError, match="dataset must be entries with"):
        export_predictions(BestSingleRouter().fit(["a", "b"], [[0, 1], [1, 1]]), [{}], path)
    with pytest.raises(TypeError, match="dataset must be a list of objects"):
        export_predictions(router, ["text"], path)
    assert not path.exists()
