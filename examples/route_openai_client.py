"""
A drop-in for an OpenAI-compatible client that routes every call
================================================================

``RoutingClient`` takes the place of an ``openai.OpenAI`` client. The call is the same, with
``model="auto"``: the client asks the router for a model, calls that model, and keeps a log. Other
options of the call (``temperature``, ``max_tokens``, ...) are passed on, and messages may consist
of parts. Scores of the answers go back into the router by ``partial_fit``. Calls that nobody rated,
and answers that were never asked for, need no score.

The server of this example runs on this machine and speaks the protocol's ``/v1/chat/completions``.
The small programs of :func:`~lookahead_sk.datasets.make_routing` answer. After 100 calls the
program that is called most is replaced by a worse one. The router learns this from feedback alone.

.. image:: /images/route_openai_client.png
   :alt: Mean score and calls of the model that got worse, over 700 calls
   :width: 600

The picture comes from ``python route_openai_client.py picture.png``. With real models only one line
changes: ``client = RoutingClient(OpenAI(), router)``.
"""

# sphinx_gallery_thumbnail_path = 'images/route_openai_client.png'

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.request import Request, urlopen

import numpy as np

from lookahead_sk import LookaheadRouter
from lookahead_sk.datasets import make_routing

# %%
# The first prompts have been scored for all models: these train the router. The rest are questions
# to come.
models = ["generalist-xl", "wordsmith-m", "calculator-s"]
data = make_routing(1000, models=models, random_state=0, as_frame=True)
X_train, X_new = data.prompts[:300].tolist(), data.prompts[300:].tolist()
y_train, y_new = data.scores[:300], data.scores[300:]
router = LookaheadRouter(random_state=0)
router.fit(X_train, y_train, responses=data.responses[:300])

# %%
# The server. What is in ``aliases`` answers as another, worse program does.
answers = {
    prompt: dict(zip(data.responses.columns, row, strict=True))
    for prompt, row in zip(data.prompts, data.responses.to_numpy(), strict=True)
}
aliases: dict[str, str] = {}


def prompt_of(messages: list[dict]) -> str:
    """Text of the last message of the user; of parts, those that are text."""
    content = next(m["content"] for m in reversed(messages) if m["role"] == "user")
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")


class Handler(BaseHTTPRequestHandler):
    """The part of the protocol that is needed."""

    def do_POST(self) -> None:
        """Answer a chat completion."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model, prompt = body["model"], prompt_of(body["messages"])
        text = answers[prompt][aliases.get(model, model)]
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        reply = {"id": "chatcmpl-0", "object": "chat.completion", "model": model}
        content = json.dumps({**reply, "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()


class HTTPClient:
    """What ``openai.OpenAI(base_url=...)`` is here for: ``client.chat.completions.create``."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self._create))

    def _create(self, *, model: str, messages: list[dict], **options: object) -> SimpleNamespace:
        body = json.dumps({"model": model, "messages": messages, **options}).encode()
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self.base_url}/chat/completions", body, headers)
        with urlopen(request, timeout=10) as reply:
            return json.loads(reply.read(), object_hook=lambda d: SimpleNamespace(**d))


# %%
# The client that routes. One call in twenty goes to a model drawn at random: a model that is never
# called would never be found to have become better.
class RoutingClient:
    """An OpenAI-compatible client whose model is chosen for every prompt."""

    def __init__(self, client: object, router: LookaheadRouter, explore: float = 0.05) -> None:
        self.client, self.router, self.explore = client, router, explore
        self.rng = np.random.RandomState(0)
        self.log: list[tuple[str, str]] = []  # prompt and model, until they are scored
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self._create))

    def _create(self, *, model: str, messages: list[dict], **options: object) -> SimpleNamespace:
        if model == "auto":
            prompt = prompt_of(messages)
            model = str(self.router.predict([prompt])[0])
            if self.rng.random_sample() < self.explore:
                model = str(self.rng.choice(self.router.classes_))
            self.log.append((prompt, model))
        return self.client.chat.completions.create(model=model, messages=messages, **options)

    def feedback(self, scores: list[float | None]) -> None:
        """Learn from the scores of the calls since the last feedback; None where nobody rated."""
        calls = zip(self.log, scores, strict=True)
        rated = [(prompt, model, score) for (prompt, model), score in calls if score is not None]
        table = np.full((len(rated), len(self.router.classes_)), np.nan)
        column = {name: k for k, name in enumerate(self.router.classes_)}
        for i, (_, model, score) in enumerate(rated):
            table[i, column[model]] = score
        if rated:
            self.router.partial_fit([prompt for prompt, _, _ in rated], table)
        self.log = []


client = RoutingClient(HTTPClient(f"http://127.0.0.1:{server.server_port}/v1"), router)

# %%
# Questions come in, some as text and some in parts. After every hundred, nine answers of ten are
# rated, here by the dataset's own checks.
truth = dict(zip(X_new, y_new.to_dict("records"), strict=True))
favourite = str(router.classes_[y_train.to_numpy().mean(axis=0).argmax()])
print(f"calls       mean score  calls of {favourite}")
history = []
for start in range(0, len(X_new), 100):
    if start == 100:
        aliases[favourite] = "calculator-s"
        print(f"            ({favourite} gets worse)")
    batch = X_new[start : start + 100]
    for number, prompt in enumerate(batch):
        content = prompt if number % 2 else [{"type": "text", "text": prompt}]
        messages = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": content},
        ]
        reply = client.chat.completions.create(model="auto", messages=messages, temperature=0)
        assert (
            reply.choices[0].message.content
            == answers[prompt][aliases.get(reply.model, reply.model)]
        )
    called = [model for _, model in client.log]
    scores = [truth[p][aliases.get(m, m)] for p, m in client.log]
    client.feedback([None if i % 10 == 9 else score for i, score in enumerate(scores)])
    print(f"{start:3d} to {start + 100:3d}  {np.mean(scores):9.3f}  {called.count(favourite):9d}")
    history.append((start + 50, np.mean(scores), called.count(favourite) / len(called)))

server.shutdown()

# %%
# The picture: the mean score falls when the program gets worse, and recovers as the router learns
# to call it less.
if len(sys.argv) > 1:
    import matplotlib.pyplot as plt

    calls, means, shares = zip(*history, strict=True)
    figure, axis = plt.subplots(figsize=(7, 3.8), layout="constrained")
    axis.plot(calls, means, "o-", color="C0", label="mean score of the answers")
    axis.plot(calls, shares, "s--", color="0.5", label=f"share of calls to {favourite}")
    axis.axvline(100, color="C3", lw=1, label=f"{favourite} gets worse")
    axis.set(xlabel="calls", ylim=(0, 1))
    axis.legend(frameon=False)
    figure.savefig(sys.argv[1], dpi=100)
