import gzip
import json
import math

import numpy as np
import pandas as pd
import pytest

from lookahead_sk.datasets import _source, fetch_lookahead_bench, fetch_selfoss_pool
from lookahead_sk.datasets._published import MODELS, READERS, benchmark_files


@pytest.fixture(autouse=True)
def no_ambient_folder(monkeypatch):
    monkeypatch.delenv("LOOKAHEAD_SK_DATA", raising=False)


def rows(data, benchmark):
    return data.scores[data.benchmark == benchmark]


@pytest.fixture(scope="module")
def from_clone(clone):
    return fetch_lookahead_bench(folder=clone)


def test_a_clone_gives_every_benchmark(from_clone):
    counts = dict(
        zip(*np.unique(from_clone.benchmark.astype(str), return_counts=True), strict=True)
    )
    expected = dict.fromkeys(READERS, 2) | {"ArenaHard": 1, "MT-Bench": 1}
    assert counts == expected
    assert from_clone.models == list(MODELS)
    assert from_clone.scores.shape == from_clone.responses.shape == (12, 5)
    assert from_clone.costs.shape == (5,)


def test_scores_of_every_benchmark_by_hand(from_clone):
    expected = {
        "GSM8k": [[1, 0, 1, 0, 1], [0, 1, 0, 1, 0]],
        "MATH": [[1, 0, 1, 0, 1], [0, 1, 0, 1, 0]],
        "HumanEval": [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]],
        "MBPP": [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]],
        "AlpacaEval": [[0, 0.1, 0.2, 0.3, 0.4], [0.01, 0.11, 0.21, 0.31, math.nan]],
        # lost both games clearly, won both, tie and lead, one without verdict, lead and tie
        "ArenaHard": [[0, 1, 7 / 12, 0, 7 / 12]],
        # ratings 1, 2 / 2, 3 / 3, 4 / none / 5, 6
        "MT-Bench": [[0.15, 0.25, 0.35, 0, 0.55]],
    }
    for name, scores in expected.items():
        np.testing.assert_allclose(rows(from_clone, name), scores, atol=1e-12, err_msg=name)


def test_texts_come_from_the_right_places(from_clone):
    first = {name: np.flatnonzero(from_clone.benchmark == name)[0] for name in READERS}
    prompts = {name: from_clone.prompts[i] for name, i in first.items()}
    assert prompts == {
        "GSM8k": "GSM8k 0",
        "MATH": "MATH 0",
        "HumanEval": "HumanEval 0",
        "MBPP": "MBPP 0",
        "AlpacaEval": "a",
        "ArenaHard": "aaaaaa",
        "MT-Bench": "write",
    }
    assert from_clone.responses[first["MT-Bench"]].tolist() == list(MODELS)
    assert from_clone.responses[first["GSM8k"], 1] == f"{MODELS[1]} 0"
    assert (from_clone.response_chars == np.vectorize(len)(from_clone.responses)).all()


def test_a_download_gives_what_the_clone_gives(server, tmp_path, from_clone):
    data = fetch_lookahead_bench(data_home=tmp_path, delay=0.0)
    assert (data.prompts == from_clone.prompts).all()
    assert (data.split == from_clone.split).all()
    np.testing.assert_array_equal(data.scores, from_clone.scores)
    server.requests.clear()
    again = fetch_lookahead_bench(data_home=tmp_path, download_if_missing=False)
    assert (again.responses == data.responses).all()
    assert server.requests == []


def test_only_the_files_of_the_chosen_benchmarks_are_downloaded(server, tmp_path):
    fetch_lookahead_bench(benchmarks=["MT-Bench"], data_home=tmp_path)
    paths = {path for path, _ in server.requests}
    assert paths == {"listing", *benchmark_files("MT-Bench")}


def test_packed_files_give_what_they_were_made_from(clone, packed, from_clone):
    data = fetch_lookahead_bench(folder=packed(clone))
    assert set(data.benchmark) == {"GSM8k", "MT-Bench"}
    np.testing.assert_array_equal(rows(data, "GSM8k"), rows(from_clone, "GSM8k"))
    assert data.prompt_id.tolist() == ["0", "1", "81"]


def test_the_environment_names_the_folder_or_its_parent(clone, packed, monkeypatch):
    folder = packed(clone)
    monkeypatch.setenv("LOOKAHEAD_SK_DATA", str(folder))
    assert len(fetch_lookahead_bench().prompts) == 3
    inner = folder / "parent" / "lookahead_bench"
    inner.mkdir(parents=True)
    (folder / "GSM8k.jsonl.gz").rename(inner / "GSM8k.jsonl.gz")
    monkeypatch.setenv("LOOKAHEAD_SK_DATA", str(folder / "parent"))
    assert set(fetch_lookahead_bench().benchmark) == {"GSM8k"}


def test_missing_scores_in_packed_files_are_nan(clone, packed):
    folder = packed(clone, ["GSM8k"])
    path = folder / "GSM8k.jsonl.gz"
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    lines[0]["scores"][2] = None
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    assert np.isnan(fetch_lookahead_bench(folder=folder).scores).tolist() == [
        [False, False, True, False, False],
        [False] * 5,
    ]


def test_a_split_is_kept_and_the_parts_make_the_whole(from_clone, clone):
    parts = {split: fetch_lookahead_bench(folder=clone, split=split) for split in ("train", "test")}
    assert set(parts["test"].split) == {"test"}
    assert sum(len(part.prompts) for part in parts.values()) == len(from_clone.prompts)


def test_frames_and_pairs(clone):
    data = fetch_lookahead_bench(folder=clone, as_frame=True)
    assert isinstance(data.scores, pd.DataFrame)
    assert list(data.scores.columns) == list(MODELS)
    X, y = fetch_lookahead_bench(folder=clone, return_X_y=True)
    assert (data.prompts.to_numpy() == X).all()
    np.testing.assert_array_equal(data.scores.to_numpy(), y)


def test_without_a_network_the_error_says_how_to_give_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(_source, "_LISTING_URL", "http://127.0.0.1:9/listing")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(OSError, match=r"pass folder=, or set LOOKAHEAD_SK_DATA.*clone of https"):
        fetch_lookahead_bench(data_home=tmp_path, n_retries=0)


def test_download_if_missing_false_never_asks(server, tmp_path):
    with pytest.raises(OSError, match=r"download_if_missing is False.*folder="):
        fetch_lookahead_bench(data_home=tmp_path, download_if_missing=False)
    assert server.requests == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"benchmarks": ["MMLU"]}, ValueError, "benchmarks must be .*'GSM8k'.*; got 'MMLU'"),
        ({"benchmarks": "MATH"}, ValueError, r"benchmarks=\['MATH'\]"),
        ({"split": "dev"}, ValueError, "split must be one of None, 'train', 'test'; got 'dev'"),
        ({"folder": "/no/such/place"}, FileNotFoundError, "folder must be an existing folder"),
        ({"folder": 3}, TypeError, "folder must be None, a string or a path; got 3"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        fetch_lookahead_bench(**arguments)


def test_a_folder_without_data_and_a_benchmark_that_is_not_there_are_told(clone, packed, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match=r"no benchmark in .*empty.*NAME\.jsonl\.gz"):
        fetch_lookahead_bench(folder=empty)
    with pytest.raises(FileNotFoundError, match=r"has no MATH\.jsonl\.gz"):
        fetch_lookahead_bench(folder=packed(clone), benchmarks=["GSM8k", "MATH"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not gzip", "must be gzipped JSON lines"),
        (gzip.compress(b"{}", mtime=0)[:-4], "must be gzipped JSON lines"),
        (gzip.compress(b"{", mtime=0), "must be gzipped JSON lines"),
        (gzip.compress(b"{}", mtime=0), "line 1 of .* must be a JSON object with benchmark"),
        (
            gzip.compress(
                json.dumps(
                    {"benchmark": "MATH", "prompt_id": 1, "prompt": "", "responses": [""] * 4,
                     "response_chars": [0] * 5, "scores": [0] * 5, "split": "test"}
                ).encode(),
                mtime=0,
            ),
            "line 1 of .* must have one response, length and score",
        ),
    ],
)  # fmt: skip
def test_a_damaged_file_is_told_with_its_line(tmp_path, content, message):
    (tmp_path / "MATH.jsonl.gz").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        fetch_lookahead_bench(folder=tmp_path)


def test_the_pool_from_a_clone_and_by_download(server, clone, tmp_path):
    data = fetch_selfoss_pool(folder=clone)
    assert data.scores.tolist() == [[0, 0.25, 0.5, 0.75, 1]] * 3
    assert data.split.tolist() == ["train", "eval", "train"]
    assert set(data.benchmark) == {"SelfOSSInstruct"}
    downloaded = fetch_selfoss_pool(data_home=tmp_path, split="train")
    assert downloaded.prompts.tolist() == ["task 0", "task 2"]


def test_the_packed_pool(tmp_path):
    row = {"b": "SelfOSSInstruct", "id": "x", "p": "task", "r": ["r"] * 5, "n": [7] * 5,
           "s": [0, 0.5, 1, None, 0], "y": [0] * 5, "split": "eval"}  # fmt: skip
    lines = [{"models": list(MODELS), "chars": 512}, row]
    folder = tmp_path / "selfoss"
    folder.mkdir()
    text = "\n".join(map(json.dumps, lines)).encode()
    (folder / "selfoss_pool.jsonl.gz").write_bytes(gzip.compress(text))
    data = fetch_selfoss_pool(folder=tmp_path)
    np.testing.assert_array_equal(data.scores, [[0, 0.5, 1, np.nan, 0]])
    assert data.response_chars.tolist() == [[7] * 5]


def test_a_pool_of_other_models_is_refused(tmp_path):
    text = json.dumps({"models": ["a"]}).encode()
    (tmp_path / "selfoss_pool.jsonl.gz").write_bytes(gzip.compress(text))
    with pytest.raises(ValueError, match="must name the models"):
        fetch_selfoss_pool(folder=tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no selfoss_pool"):
        fetch_selfoss_pool(folder=tmp_path.parent / tmp_path.name / "..")
