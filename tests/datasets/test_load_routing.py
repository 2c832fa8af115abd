"""Logs in every layout are written, read back, and told about."""

import csv
import gzip
import json
import pickle

import numpy as np
import pandas as pd
import pytest

from lookahead_sk import TokenPrice
from lookahead_sk.baselines import KNNRouter
from lookahead_sk.datasets import load_routing

PROMPTS = ["What is 2 + 2?", "Name a river, please.\nA long one.", "Wie geht's?"]
MODELS = ["small-7b", "large"]
SCORES = np.array([[1.0, 1.0], [0.25, np.nan], [0.0, 0.5]])
COSTS = np.array([[0.001, 0.02], [0.002, np.nan], [0.001, 0.03]])
TOKENS = np.array([[[9, 3], [9, 5]], [[12, 40], [np.nan, np.nan]], [[7, 8], [7, 9]]])
GROUPS = ["maths", "facts", "talk"]


def cells():
    """(i, k) of the calls."""
    return [(i, k) for i in range(3) for k in range(2) if not np.isnan(SCORES[i, k])]


def long_rows(**names):
    """A row a call, with the given names of fields."""
    rows = [
        {
            "prompt": PROMPTS[i],
            "group": GROUPS[i],
            "model": MODELS[k],
            "score": SCORES[i, k],
            "response": f"answer {i}{k}",
            "cost": COSTS[i, k],
            "prompt_tokens": int(TOKENS[i, k, 0]),
            "completion_tokens": int(TOKENS[i, k, 1]),
        }
        for i, k in cells()
    ]
    return [{names.get(key, key): value for key, value in row.items()} for row in rows]


def wide_rows():
    """RouterBench: prompts as lists in text."""
    rows = []
    for i, prompt in enumerate(PROMPTS):
        row = {"sample_id": f"q{i}", "prompt": repr([prompt]), "eval_name": GROUPS[i]}
        for k, model in enumerate(MODELS):
            is_called = (i, k) in cells()
            row[model] = SCORES[i, k] if is_called else None
            row[f"{model}|model_response"] = f"answer {i}{k}" if is_called else None
            row[f"{model}|total_cost"] = COSTS[i, k] if is_called else None
        row["oracle_model_to_route_to"] = MODELS[0]
        rows.append(row)
    return rows


def struct_rows():
    """SPROUT: a dict for each model."""
    return [
        {"prompt": PROMPTS[i], "dataset": GROUPS[i]}
        | {
            MODELS[k]: {
                "score": SCORES[i, k],
                "response": f"answer {i}{k}",
                "num_input_tokens": int(TOKENS[i, k, 0]),
                "num_output_tokens": int(TOKENS[i, k, 1]),
            }
            for k in range(2)
            if (i, k) in cells()
        }
        for i in range(3)
    ]


def routerdc_rows():
    return [
        {
            "question": PROMPTS[i],
            "scores": {MODELS[k]: SCORES[i, k] for k in range(2) if (i, k) in cells()},
            "cluster_id": i,
        }
        for i in range(3)
    ]


def check(data, *, responses=True, costs=True, tokens=True):
    """What was read is what was written."""
    assert data.prompts.tolist() == PROMPTS
    assert data.models == MODELS
    np.testing.assert_array_equal(data.scores, SCORES)
    np.testing.assert_array_equal(data.called, ~np.isnan(SCORES))
    if costs:
        np.testing.assert_allclose(data.costs, COSTS)
        np.testing.assert_allclose(data.model_costs, np.nanmean(COSTS, axis=0))
    if tokens:
        np.testing.assert_array_equal(data.tokens, TOKENS)
    if responses:
        expected = [
            [f"answer {i}{k}" if (i, k) in cells() else None for k in (0, 1)] for i in range(3)
        ]
        assert data.responses.tolist() == expected
    else:
        assert data.responses is None


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_json(path, rows):
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def write_parquet(path, rows):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.Table.from_pylist(rows), path)
    return path


def zipped(path):
    target = path.with_name(path.name + ".gz")
    target.write_bytes(gzip.compress(path.read_bytes()))
    return target


WRITERS = {"csv": write_csv, "jsonl": write_jsonl, "json": write_json, "parquet": write_parquet}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("zips", [False, True])
def test_a_long_file_is_read_back(tmp_path, kind, zips):
    path = WRITERS[kind](tmp_path / f"log.{kind}", long_rows())
    check(load_routing(zipped(path) if zips else path))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_routerbench_file_is_read_back(tmp_path, kind):
    data = load_routing(WRITERS[kind](tmp_path / f"log.{kind}", wide_rows()))
    check(data, tokens=False)
    assert data.benchmark.tolist() == GROUPS
    assert any("written as lists" in note for note in data.notes)


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
@pytest.mark.parametrize("rows", [struct_rows, routerdc_rows])
def test_nested_files_are_read_back(tmp_path, kind, rows):
    data = load_routing(WRITERS[kind](tmp_path / f"log.{kind}", rows()))
    is_struct = rows is struct_rows
    check(data, responses=is_struct, costs=False, tokens=is_struct)


def test_only_line_feeds_end_a_line_of_json(tmp_path):
    rows = [{**row, "prompt": f"{row['prompt']}\u2028\x85 end"} for row in long_rows()]
    text = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "log.jsonl").write_bytes(text.encode())
    assert load_routing(tmp_path / "log.jsonl").prompts[0] == f"{PROMPTS[0]}\u2028\x85 end"


def test_a_frame_is_read_as_the_file_is():
    check(load_routing(pd.DataFrame(long_rows())))
    check(load_routing(pd.DataFrame(wide_rows())), tokens=False)


def test_llmrouter_comes_with_prices_in_a_second_file(tmp_path):
    names = {"prompt": "query", "group": "task_name", "model": "model_name", "score": "performance"}
    rows = long_rows(**names)
    for row in rows:
        del row["cost"]
        row["token_num"] = 12
    prices = write_json(
        tmp_path / "llm.json",
        {"small-7b": {"input_price": 0.2, "output_price": 0.4, "size": "7B"},
         "large": {"input_price": 3.0, "output_price": 15.0}},
    )  # fmt: skip
    data = load_routing(write_jsonl(tmp_path / "log.jsonl", rows), prices=prices)
    check(data, costs=False)
    expected = TOKENS @ np.array([0.2, 0.4]) / 1e6
    np.testing.assert_allclose(data.costs[:, 0], expected[:, 0])
    assert data.costs[0, 1] == pytest.approx((9 * 3 + 5 * 15) / 1e6)
    assert "llmrouter" in data.DESCR


def test_llmrouterbench_is_a_folder_of_files(tmp_path):
    for k, model in enumerate(MODELS):
        folder = tmp_path / "bench" / "facts" / "test" / model
        folder.mkdir(parents=True)
        records = [
            {"index": i, "origin_query": PROMPTS[i], "prompt": f"Q: {PROMPTS[i]}",
             "score": SCORES[i, k], "prediction": f"answer {i}{k}", "cost": COSTS[i, k],
             "ground_truth": "x", "prompt_tokens": int(TOKENS[i, k, 0]),
             "completion_tokens": int(TOKENS[i, k, 1])}
            for i in range(3) if (i, k) in cells()
        ]  # fmt: skip
        (folder / "20260101.json").write_text(json.dumps({"performance": 0.5, "records": records}))
    data = load_routing(tmp_path / "bench", models=MODELS)
    order = [data.prompts.tolist().index(prompt) for prompt in PROMPTS]
    np.testing.assert_array_equal(data.scores[order], SCORES)
    assert set(data.benchmark) == {"facts"}


def test_embedllm_is_recognised():
    rows = [
        {
            "prompt_id": i,
            "prompt": PROMPTS[i],
            "model_id": k,
            "model_name": MODELS[k],
            "label": str(k),
        }
        for i in range(3)
        for k in range(2)
    ]
    data = load_routing(rows)
    assert "embedllm" in data.DESCR
    assert data.scores.tolist() == [[0.0, 1.0]] * 3


def test_scores_may_stand_first_in_the_name_of_a_column():
    rows = [{"instruction": p, "score|a|b": 0.5, "score|c": 1.0, "length|c": 9} for p in PROMPTS]
    assert load_routing(rows).models == ["a|b", "c"]


def test_a_plain_wide_table_has_the_models_as_columns_of_numbers():
    rows = [{"prompt": p, "a": "0.5", "b": "", "remark": "x"} for p in PROMPTS]
    rows[0]["b"] = "1"
    data = load_routing(rows)
    assert data.models == ["a", "b"]
    np.testing.assert_array_equal(data.scores, [[0.5, 1.0], [0.5, np.nan], [0.5, np.nan]])


def test_columns_name_what_has_another_name():
    rows = long_rows(prompt="text", model="engine", score="grade")
    named = {"prompt": "text", "model": "engine", "score": "grade"}
    check(load_routing(rows, columns=named))
    with pytest.raises(ValueError, match=r"columns\['prompt'\] must be one of"):
        load_routing(rows, columns={"prompt": "txt"})
    with pytest.raises(ValueError, match="columns must be one of 'prompt'"):
        load_routing(rows, columns={"prompts": "text"})


def test_several_samples_of_a_cell_are_their_mean_and_counted():
    rows = [*long_rows(), {**long_rows()[0], "score": 0.0, "cost": 0.003}]
    data = load_routing(rows)
    assert data.scores[0, 0] == 0.5
    assert data.costs[0, 0] == pytest.approx(0.002)
    assert data.n_samples.tolist() == [[2, 1], [1, 0], [1, 1]]
    assert "1 cells hold the mean of several samples; see n_samples." in data.notes


def test_duplicate_prompts_are_joined_or_kept():
    rows = [*routerdc_rows(), {**routerdc_rows()[0], "scores": {"large": 0.0}}]
    joined, kept = load_routing(rows), load_routing(rows, duplicates="keep")
    assert joined.scores.shape == (3, 2)
    assert joined.scores[0, 1] == 0.5
    assert "1 rows joined those of the same prompt." in joined.notes
    assert kept.scores.shape == (4, 2)
    assert "1 rows repeat the prompt of another one." in kept.notes
    traffic = load_routing(long_rows(), duplicates="keep")
    assert traffic.called.sum(axis=1).tolist() == [1] * 5


def test_the_same_text_in_two_groups_is_two_prompts():
    rows = [*long_rows(), *({**row, "group": "other"} for row in long_rows())]
    assert load_routing(rows).scores.shape == (6, 2)


def test_a_list_in_one_prompt_alone_is_left():
    rows = long_rows()
    rows[-1] = {**rows[-1], "prompt": "['sort', 'this']"}
    data = load_routing(rows)
    assert data.prompts[-1] == "['sort', 'this']"
    assert any("left as it is" in note for note in data.notes)


def test_turns_are_joined():
    rows = [{**row, "prompt": [row["prompt"], "And then?"]} for row in long_rows()]
    assert load_routing(rows).prompts[0] == "What is 2 + 2?\nAnd then?"


def test_propensities_are_kept_and_checked():
    rows = [{**row, "propensity": 0.5} for row in long_rows()]
    data = load_routing(rows)
    np.testing.assert_array_equal(data.propensities, np.where(data.called, 0.5, np.nan))
    rows[2]["propensity"] = 0.0
    with pytest.raises(
        ValueError, match=r"The propensity of 'small-7b' in row 2 must be in \(0, 1\]"
    ):
        load_routing(rows)


def test_a_call_without_a_score_is_still_a_call():
    rows = long_rows()
    rows[0]["score"] = ""
    data = load_routing(rows)
    assert data.called[0, 0]
    assert np.isnan(data.scores[0, 0])
    assert "1 calls have no score." in data.notes


def test_money_is_read_in_one_unit():
    rows = [{**row, "cost": f"${row['cost']}"} for row in long_rows()]
    data = load_routing(rows)
    check(data)
    assert "Costs are in USD." in data.notes
    rows[1]["cost"] = "0.02 EUR"
    with pytest.raises(
        ValueError, match=r"costs of the log must be in one unit; got \['EUR', 'USD'\]"
    ):
        load_routing(rows)
    mixed = [{**row, "currency": "USD" if i else "cent"} for i, row in enumerate(long_rows())]
    with pytest.raises(ValueError, match=r"one unit; got \['USD', 'cent'\]"):
        load_routing(mixed)


def test_missing_prices_are_named():
    rows = [{key: row[key] for key in row if key != "cost"} for row in long_rows()]
    prices = {"large": TokenPrice(input=1, output=2)}
    with pytest.raises(ValueError, match=r"\['small-7b'\] are missing"):
        load_routing(rows, prices=prices)
    with pytest.raises(ValueError, match=r"prices\['large'\] must be a TokenPrice"):
        load_routing(rows, prices={"large": 3.0})


def test_a_log_of_one_model_is_refused():
    rows = [row for row in long_rows() if row["model"] == "large"]
    with pytest.raises(ValueError, match=r"at least two models; got \['large'\]"):
        load_routing(rows)
    with pytest.raises(ValueError, match="at least two models"):
        load_routing(long_rows(), models=["large"])


def test_scores_outside_the_declared_range_are_refused():
    check(load_routing(long_rows(), score_range=(0, 1)))
    with pytest.raises(ValueError, match=r"Scores must be in \[0, 0.9\]; got 1.0. .*'small-7b'"):
        load_routing(long_rows(), score_range=(0, 0.9))


@pytest.mark.parametrize("name", ["log.pkl", "log.pickle.gz", "log.csv"])
def test_pickles_are_refused_unread(tmp_path, name):
    path = tmp_path / name
    content = pickle.dumps(pd.DataFrame(long_rows()))
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(ValueError, match=r"A pickle can run code.*'log.parquet'"):
        load_routing(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.json", b"{"),
        ("log.json", b"[1, 2]"),
        ("log.jsonl", b'{"prompt": "x"}\n['),
        ("log.csv", b"prompt,model\nx\n"),
        ("log.csv", b"\xff\xfe\x00"),
        ("log.csv.gz", b"no gzip"),
        ("log.json", b"[" * 100_000),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"source cannot be read: .*{name}"):
        load_routing(tmp_path / name)


def test_other_sources_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="source must be an existing file"):
        load_routing(tmp_path / "none.csv")
    with pytest.raises(TypeError, match="source must be a path, a DataFrame, or a list"):
        load_routing(3)
    with pytest.raises(ValueError, match="at least one row; got none"):
        load_routing([])
    (tmp_path / "log.xlsx").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a file that ends in \.csv"):
        load_routing(tmp_path / "log.xlsx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"score": "good"},
            "The score of 'small-7b' in row 0 must be a number, or empty; got 'good'",
        ),
        ({"score": float("inf")}, "The score of 'small-7b' in row 0 must be a finite number"),
        ({"cost": -1.0}, "The cost of 'small-7b' in row 0 must be not negative"),
        ({"prompt": ""}, "The prompt of row 0 must be a text"),
        ({"prompt": 3}, "The prompt of row 0 must be a text"),
        ({"model": None}, "The model of row 0 must be a name"),
        ({"group": {"a": 1}}, "The column 'group' must be one label a row"),
    ],
)
def test_a_wrong_cell_is_named(change, message):
    rows = long_rows()
    rows[0] |= change
    with pytest.raises(ValueError, match=message):
        load_routing(rows)


def test_missing_fields_are_named():
    with pytest.raises(ValueError, match="The column of the prompts must be one of prompt, query"):
        load_routing([{"text": "x", "model": "a", "score": 1}])
    with pytest.raises(ValueError, match="The column of the scores must be one of score"):
        load_routing([{"prompt": "x", "model": "a"}])
    with pytest.raises(ValueError, match="a log with the fields"):
        load_routing(long_rows(), "routerbench")
    with pytest.raises(ValueError, match="with scores; got none"):
        load_routing([{**row, "score": None} for row in long_rows()])


def test_frames_and_pairs_are_returned_on_request():
    data = load_routing(long_rows(), as_frame=True)
    assert list(data.scores) == list(data.responses) == MODELS
    X, y = load_routing(long_rows(), return_X_y=True)
    assert X.tolist() == PROMPTS
    np.testing.assert_array_equal(y, SCORES)


def test_a_partial_table_is_fitted_as_it_is():
    rng = np.random.default_rng(0)
    rows = [
        {"prompt": f"question {i}", "model": MODELS[i % 2], "score": rng.random()}
        for i in range(60)
    ]
    data = load_routing(rows)
    chosen = KNNRouter(random_state=0).fit(data.prompts, data.scores).predict(data.prompts)
    assert set(chosen) <= {0, 1}


def test_token_prices_are_checked_and_multiplied():
    price = TokenPrice(input=3.0, output=15.0, cached_input=0.3)
    np.testing.assert_allclose(price.cost([1e6, 0], [0, 1e6]), [3.0, 15.0])
    assert price.cost(1e6, 0, cached_tokens=1e6) == pytest.approx(0.3)
    with pytest.raises(ValueError, match="input must be a float in"):
        TokenPrice(input=-1.0, output=1.0)
    with pytest.raises(TypeError, match="output must be a float"):
        TokenPrice(input=1.0, output="1")
