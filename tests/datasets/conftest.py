import gzip
import hashlib
import http.server
import json
import threading

import pytest

from lookahead_sk.datasets import _published, _source
from lookahead_sk.datasets._published import MODELS


class Repository(http.server.ThreadingHTTPServer):
    """A folder served like GitHub, which can be told to misbehave."""

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.requests = []  # (path, Range header or None)
        self.break_after = {}  # path -> bytes sent before the connection is closed, once
        self.replaced = {}  # path -> bytes sent instead of the file
        self.statuses = {}  # path -> list of statuses answered before it works
        self.ignores_range = False
        self.shifts_range = False
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def listing(self):
        tree = [{"path": "compressed_data", "type": "tree", "sha": "0" * 40}]
        for path in sorted(self.folder.rglob("*.gz")):
            content = path.read_bytes()
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            name = path.relative_to(self.folder).as_posix()
            tree.append({"path": name, "type": "blob", "sha": blob, "size": len(content)})
        return json.dumps({"tree": tree, "truncated": False}).encode()

    def requests_of(self, path):
        return [wanted for requested, wanted in self.requests if requested == path]


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, path = self.server, self.path.lstrip("/")
        wanted = self.headers.get("Range")
        server.requests.append((path, wanted))
        if server.statuses.get(path):
            self.send_error(server.statuses[path].pop(0))
            return
        if path == "listing":
            content = server.replaced.get(path) or server.listing()
        elif (server.folder / path).is_file():
            content = server.replaced.get(path) or (server.folder / path).read_bytes()
        else:
            self.send_error(404)
            return
        start = int(wanted[len("bytes=") : -1]) if wanted and not server.ignores_range else 0
        self.send_response(206 if start else 200)
        if start:
            shown = start + 1 if server.shifts_range else start
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = server.break_after.pop(path, None)
        self.wfile.write(content[start:stop])

    def log_message(self, *arguments):
        pass


def _write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.name.endswith(".jsonl.gz")
    text = "\n".join(json.dumps(line) for line in value) if lines else json.dumps(value)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def _write_repository(folder):
    """Two prompts of every benchmark in the layouts of the authors' evaluation tools."""
    test = folder / "compressed_data" / "test"
    for number, model in enumerate(MODELS):
        for name in ("GSM8k", "MATH"):
            details = {
                str(i): {
                    "prompt": [{"prompt": f" {name} {i} "}],
                    "origin_prediction": f"{model} {i}",
                    "correct": (number + i) % 2 == 0,
                }
                for i in range(2)
            }
            _write(test / name / f"{model}.json.gz", {"accuracy": 50, "details": details})
        for name in ("HumanEval", "MBPP"):
            written = {
                str(i): {"origin_prompt": [{"prompt": f"{name} {i}"}], "prediction": f"def {model}"}
                for i in range(2)
            }
            judged = {"details": {str(i): {"is_correct": number == i} for i in range(2)}}
            _write(test / name / "predictions" / f"{model}.json.gz", written)
            _write(test / name / "results" / f"{model}.json.gz", judged)
        annotations = [
            {"output_2": f"{model} {i}", "preference": 1 + 0.1 * number + 0.01 * i}
            for i in range(2)
        ]
        annotations[1]["preference"] = None if number == 4 else annotations[1]["preference"]
        judge = "weighted_alpaca_eval_gpt4_turbo"
        _write(test / "AlpacaEval" / model / judge / "annotations.json.gz", annotations)
        answers = [
            {"question_id": key, "choices": [{"turns": [{"content": f"{model} {key}"}]}]}
            for key in ("aa", "bb")
        ]
        verdicts = [
            ("A>>B", "B>>A"),
            ("B>>A", "A>>B"),
            ("A=B", "A>B"),
            (None, "A=B"),
            ("B>A", "A=B"),
        ]
        games = [
            {"question_id": key, "games": [{"score": score} for score in verdicts[number]]}
            for key in ("aa", "bb")
        ]
        _write(test / "ArenaHard" / "model_answer" / f"{model}.jsonl.gz", answers)
        # The last model lacks the second question.
        kept = games[: 1 if number == 4 else 2]
        _write(test / "ArenaHard" / "model_judgment" / f"{model}.jsonl.gz", kept)
        ratings = [
            {
                "question_id": 81,
                "turn": turn,
                "user_prompt": "[Question]\nq\n\n[The Start of Assistant's Answer]\n"
                f"{model}\n[The End of Assistant's Answer]",
                "score": -1 if number == 3 else number + turn,
            }
            for turn in (1, 2)
        ]
        name = f"gpt-4-0125-preview_judge_{model}_single.jsonl.gz"
        _write(test / "MT-Bench" / "judgments" / name, ratings)
    _write(
        test / "AlpacaEval" / "instructions.jsonl.gz", [{"instruction": "a"}, {"instruction": "b"}]
    )
    questions = [{"question_id": key, "turns": [{"content": key * 3}]} for key in ("aa", "bb")]
    _write(test / "ArenaHard" / "question.jsonl.gz", questions)
    mt_bench = [{"question_id": 81, "category": "writing", "turns": ["write", "rewrite"]}]
    _write(test / "MT-Bench" / "question.jsonl.gz", mt_bench)
    pool = folder / "compressed_data" / "train" / "SelfOSSInstructSC2_filtered2"
    _write(
        pool / "instructions.jsonl.gz",
        [{"prompt_id": f"p{i}", "prompt": f"task {i}", "tags": []} for i in range(3)],
    )
    _write(pool / "eval_ids.json.gz", ["p1"])
    for number, model in enumerate(MODELS):
        answers = [{"response": f"{model} {i}", "score": number / 4} for i in range(3)]
        _write(pool / "responses" / f"{model}.jsonl.gz", answers)


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """A copy of the authors' repository, with two prompts a benchmark."""
    folder = tmp_path_factory.mktemp("clone")
    _write_repository(folder)
    return folder


@pytest.fixture
def server(clone, monkeypatch):
    repository = Repository(clone)
    thread = threading.Thread(target=repository.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("LOOKAHEAD_SK_DATA", raising=False)
    monkeypatch.setattr(_source, "_LISTING_URL", f"{repository.url}/listing")
    monkeypatch.setattr(_source, "_RAW_URL", repository.url)
    yield repository
    repository.shutdown()
    thread.join()
    repository.server_close()


@pytest.fixture
def packed(tmp_path):
    """A folder of packed files made of the same prompts as the clone."""

    def pack(clone, names=("GSM8k", "MT-Bench")):
        for name in names:
            records = _published.read_benchmark(clone / "compressed_data" / "test", name)
            _write(tmp_path / f"{name}.jsonl.gz", [record._asdict() for record in records])
        return tmp_path

    return pack
