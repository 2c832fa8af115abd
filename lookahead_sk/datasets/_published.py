"""The layout of the authors' repository: seven benchmarks, each written by another evaluation tool.

A reader yields one `Record` per prompt. Scores are brought to [0, 1]:

============  ==============================================================================
AlpacaEval    preference of the weighted judge, from [1, 2]
ArenaHard     two games against a reference, each -3 to 3, from [-6, 6]; a game without verdict -6
MT-Bench      mean rating of both turns, from [0, 10]; a turn without a rating counts -1, as in
              the authors' evaluation, and the mean is not let below 0
the others    1 if the answer, or the program, is right, else 0
============  ==============================================================================
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

MODELS = (
    "Yi-1.5-34B-Chat",
    "internlm2_5-20b-chat",
    "Phi-3-medium-4k-instruct",
    "Llama-3.1-8B-Instruct",
    "Qwen2.5-Coder-7B-Instruct",
)
_GAME = {"A>>B": 3, "A>B": 1, "A=B": 0, "B>A": -1, "B>>A": -3}
_ANSWER_BEGINS, _ANSWER_ENDS = (
    "[The Start of Assistant's Answer]",
    "[The End of Assistant's Answer]",
)
_JUDGE = "gpt-4-0125-preview_judge"
_ANNOTATOR = "weighted_alpaca_eval_gpt4_turbo"
_SELFOSS = "SelfOSSInstructSC2_filtered2"
MAX_UNCOMPRESSED = 2**29  # bytes of one file, far above the published ones


class Record(NamedTuple):
    """One prompt with what every model answered and how well."""

    benchmark: str
    prompt_id: str
    prompt: str
    responses: list[str]
    response_chars: list[int]
    scores: list[float]
    split: str


def split_of(benchmark: str, prompt_id: str) -> str:
    """A fixed split, a quarter "test", by the hash of a prompt's name: the authors publish none."""
    digest = hashlib.sha256(f"{benchmark}/{prompt_id}".encode()).digest()
    return "test" if digest[0] < 64 else "train"


def _record(
    benchmark: str, key: str, prompt: str, responses: Sequence[str], scores: Sequence[float]
) -> Record:
    texts = [text or "" for text in responses]
    lengths = [len(text) for text in texts]
    values = [float(score) for score in scores]
    return Record(benchmark, key, prompt.strip(), texts, lengths, values, split_of(benchmark, key))


class _Bounded(io.RawIOBase):
    """What a gzipped file holds, up to a limit: a small file can hold any number of zeros."""

    def __init__(self, path: Path) -> None:
        self._file = gzip.open(path, "rb")  # noqa: SIM115  # closed by `close`
        self._path, self._left = path, MAX_UNCOMPRESSED

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._file.read(len(buffer))
        self._left -= len(chunk)
        if self._left < 0:
            raise ValueError(f"{self._path} holds more than {MAX_UNCOMPRESSED} bytes")
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self._file.close()
        super().close()


def bounded_gzip(path: Path) -> io.TextIOWrapper:
    """A gzipped text, of which no more than `MAX_UNCOMPRESSED` bytes are ever read."""
    return io.TextIOWrapper(io.BufferedReader(_Bounded(path), 1 << 16), encoding="utf-8")


def _load(path: Path) -> Any:
    """A JSON file, gzipped or (in a decompressed copy) not."""
    if path.exists():
        with bounded_gzip(path) as file:
            return json.load(file)
    return json.loads(path.with_suffix("").read_text(encoding="utf-8"))


def _load_lines(path: Path) -> list[Any]:
    if path.exists():
        with bounded_gzip(path) as file:
            return [json.loads(line) for line in file if line.strip()]
    text = path.with_suffix("").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _read_graded(folder: Path, benchmark: str) -> Iterator[Record]:
    details = [_load(folder / f"{model}.json.gz")["details"] for model in MODELS]
    for key, item in details[0].items():
        items = [detail[key] for detail in details]
        responses = [item["origin_prediction"] for item in items]
        scores = [item["correct"] for item in items]
        yield _record(benchmark, key, item["prompt"][0]["prompt"], responses, scores)


def _read_code(folder: Path, benchmark: str) -> Iterator[Record]:
    written = [_load(folder / "predictions" / f"{model}.json.gz") for model in MODELS]
    judged = [_load(folder / "results" / f"{model}.json.gz")["details"] for model in MODELS]
    for key, item in written[0].items():
        responses = [predictions[key]["prediction"] for predictions in written]
        scores = [details[key]["is_correct"] for details in judged]
        yield _record(benchmark, key, item["origin_prompt"][0]["prompt"], responses, scores)


def _read_alpaca_eval(folder: Path, benchmark: str) -> Iterator[Record]:
    instructions = _load_lines(folder / "instructions.jsonl.gz")
    judged = [_load(folder / model / _ANNOTATOR / "annotations.json.gz") for model in MODELS]
    for i, instruction in enumerate(instructions):
        responses = [annotations[i]["output_2"] for annotations in judged]
        preferences = [annotations[i]["preference"] for annotations in judged]
        scores = [float("nan") if p is None else p - 1 for p in preferences]
        yield _record(benchmark, str(i), instruction["instruction"], responses, scores)


def _games_score(games: Sequence[dict[str, Any]]) -> float:
    first, second = games[0]["score"], games[1]["score"]
    if first is None or second is None:
        return 0.0
    return (_GAME[second] - _GAME[first] + 6) / 12  # the model is B in the first game


def _read_arena_hard(folder: Path, benchmark: str) -> Iterator[Record]:
    answers, judgments = [], []
    for model in MODELS:
        lines = _load_lines(folder / "model_answer" / f"{model}.jsonl.gz")
        answers.append(
            {line["question_id"]: line["choices"][0]["turns"][0]["content"] for line in lines}
        )
        lines = _load_lines(folder / "model_judgment" / f"{model}.jsonl.gz")
        judgments.append({line["question_id"]: _games_score(line["games"]) for line in lines})
    for question in _load_lines(folder / "question.jsonl.gz"):
        key = question["question_id"]
        if all(key in judgment for judgment in judgments):  # one model lacks one question
            responses = [answer[key] for answer in answers]
            scores = [judgment[key] for judgment in judgments]
            yield _record(benchmark, key, question["turns"][0]["content"], responses, scores)


def _read_mt_bench(folder: Path, benchmark: str) -> Iterator[Record]:
    judgments = []
    for model in MODELS:
        lines = _load_lines(folder / "judgments" / f"{_JUDGE}_{model}_single.jsonl.gz")
        judgments.append({(line["question_id"], line["turn"]): line for line in lines})
    for question in _load_lines(folder / "question.jsonl.gz"):
        key = question["question_id"]
        responses = [
            judged[key, 1]["user_prompt"].split(_ANSWER_BEGINS)[1].split(_ANSWER_ENDS)[0].strip()
            for judged in judgments
        ]
        ratings = [(judged[key, 1]["score"], judged[key, 2]["score"]) for judged in judgments]
        scores = [max(0.0, (one + two) / 20) for one, two in ratings]
        yield _record(benchmark, str(key), question["turns"][0], responses, scores)


Reader = Callable[[Path, str], Iterator[Record]]

READERS: dict[str, Reader] = {
    "GSM8k": _read_graded,
    "MATH": _read_graded,
    "HumanEval": _read_code,
    "MBPP": _read_code,
    "AlpacaEval": _read_alpaca_eval,
    "ArenaHard": _read_arena_hard,
    "MT-Bench": _read_mt_bench,
}


def read_benchmark(test_folder: Path, benchmark: str) -> list[Record]:
    """Every prompt of a benchmark from the folder ``test`` of the authors' data."""
    return list(READERS[benchmark](test_folder / benchmark, benchmark))


def benchmark_files(benchmark: str) -> list[str]:
    """Paths, in the repository, of the files a benchmark is read from."""
    patterns = {
        "AlpacaEval": ["instructions.jsonl.gz", f"{{}}/{_ANNOTATOR}/annotations.json.gz"],
        "ArenaHard": [
            "question.jsonl.gz",
            "model_answer/{}.jsonl.gz",
            "model_judgment/{}.jsonl.gz",
        ],
        "MT-Bench": ["question.jsonl.gz", f"judgments/{_JUDGE}_{{}}_single.jsonl.gz"],
        "HumanEval": ["predictions/{}.json.gz", "results/{}.json.gz"],
        "MBPP": ["predictions/{}.json.gz", "results/{}.json.gz"],
    }.get(benchmark, ["{}.json.gz"])
    names = [pattern.format(model) for pattern in patterns for model in MODELS]
    return [f"compressed_data/test/{benchmark}/{name}" for name in dict.fromkeys(names)]


def selfoss_files() -> list[str]:
    """Paths, in the repository, of the files the SelfOSS pool is read from."""
    names = ["instructions.jsonl.gz", "eval_ids.json.gz"]
    names += [f"responses/{model}.jsonl.gz" for model in MODELS]
    return [f"compressed_data/train/{_SELFOSS}/{name}" for name in names]


def read_selfoss(train_folder: Path) -> list[Record]:
    """Every prompt of the SelfOSS pool from the folder ``train`` of the authors' data."""
    folder = train_folder / _SELFOSS
    held_out = set(_load(folder / "eval_ids.json.gz"))
    answers = [_load_lines(folder / "responses" / f"{model}.jsonl.gz") for model in MODELS]
    records = []
    for i, line in enumerate(_load_lines(folder / "instructions.jsonl.gz")):
        responses = [answer[i]["response"] for answer in answers]
        scores = [answer[i]["score"] for answer in answers]
        record = _record(
            "SelfOSSInstruct", str(line["prompt_id"]), line["prompt"], responses, scores
        )
        split = "eval" if line["prompt_id"] in held_out else "train"
        records.append(record._replace(split=split))
    return records
