"""Processes are killed, disks are full, folders read-only: the old or the new state stays."""

import errno
import os
import random
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from _tiny_models import learnable, tiny

from lookahead_sk import LookaheadRouter, MaskedLookaheadRouter, TwoStepConstrainedBO, _files
from lookahead_sk.routing._language_model import _checkpoint, _training
from lookahead_sk.routing._language_model._checkpoint import Checkpoint
from lookahead_sk.routing._saving import _folder

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no kill -9"),
    pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning"),
]


class Child:
    """A forked process that runs a function, and says numbers through a pipe."""

    def __init__(self, work, *arguments):
        reading, writing = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            status = 1
            try:
                work(lambda number: os.write(writing, b"%d\n" % number), *arguments)
                status = 0
            finally:
                os._exit(status)
        os.close(writing)
        self.lines = os.fdopen(reading)

    def end(self):
        """Exit status (minus the signal that killed it) and all numbers not read yet."""
        numbers = [int(line) for line in self.lines]
        self.lines.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), numbers

    def kill_after(self, n, seconds):
        """Wait for n numbers, then a moment, then kill -9; all numbers until then."""
        lines = [self.lines.readline() for _ in range(n)]
        assert all(lines), "the process ended by itself"
        time.sleep(seconds)
        os.kill(self.pid, signal.SIGKILL)
        status, more = self.end()
        assert status == -signal.SIGKILL
        return [*map(int, lines), *more]


def made_router():
    X = np.random.default_rng(0).normal(size=(20, 3))
    made = LookaheadRouter(encoder="passthrough", max_epochs=1, random_state=0)
    return made.fit(X, (X > 0).astype(float))


def renumbered(made, number, size=20_000):
    """The same router; a number of its JSON and a large array of its arrays say which save."""
    novelty = replace(made.predictor_.novelty, distances=np.full(size, number, dtype=np.float32))
    made.predictor_ = replace(made.predictor_, n_prompts=number, novelty=novelty)
    return made


def save_routers(say, made, folder):
    for number in range(10**6):
        renumbered(made, number).save_pretrained(folder)  # arrays and JSON must be of one save
        say(number)


@pytest.mark.parametrize("seed", range(6))
def test_a_save_of_a_router_that_is_killed_leaves_the_old_or_the_new_one(tmp_path, seed):
    folder, made = tmp_path / "router", made_router()
    for attempt in range(3):  # those after the first begin with what the one before left
        pause = random.Random(10 * seed + attempt).uniform(0, 0.05)
        last = Child(save_routers, made, folder).kill_after(2, pause)[-1]
        loaded = LookaheadRouter.from_pretrained(folder)
        assert loaded.n_prompts_ in (last, last + 1)
        assert (loaded.predictor_.novelty.distances == loaded.n_prompts_).all()
        assert len(loaded.predict(np.zeros((2, 3)))) == 2


def save_killed_at(say, made, folder, at):
    plain, moves = Path.rename, []

    def rename(self, target):
        moves.append(self)
        if len(moves) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(self, target)

    Path.rename = rename
    made.save_pretrained(folder)


@pytest.mark.parametrize("at", [1, 2])
def test_a_kill_between_any_two_moves_of_a_folder_loses_nothing(tmp_path, at):
    folder = tmp_path / "router"
    made_router().save_pretrained(folder)
    assert (
        Child(save_killed_at, renumbered(made_router(), 99), folder, at).end()[0] == -signal.SIGKILL
    )
    assert folder.exists() == (at == 1)  # the second move is the dangerous one
    loaded = LookaheadRouter.from_pretrained(folder)
    assert loaded.n_prompts_ == 20
    renumbered(loaded, 5).save_pretrained(folder)
    assert LookaheadRouter.from_pretrained(folder).n_prompts_ == 5
    assert not _folder._set_aside(folder)  # what was set aside is cleared away


def save_optimizers(say, path):
    made = TwoStepConstrainedBO([(0, 1)] * 3, random_state=0)
    made.tell(np.random.default_rng(0).random((2000, 3)), np.zeros(2000))
    for number in range(10**6):
        made.tell([[0.5, 0.5, 0.5]], [float(number)])
        made.save(path)
        say(number)


@pytest.mark.parametrize("seed", range(6))
def test_a_save_of_an_optimizer_that_is_killed_leaves_the_old_or_the_new_one(tmp_path, seed):
    path = tmp_path / "run.json"
    pause = random.Random(seed).uniform(0, 0.05)
    last = Child(save_optimizers, path).kill_after(2, pause)[-1]
    loaded = TwoStepConstrainedBO.load(path)
    n_told = len(loaded.y_) - 2001
    assert n_told in (last, last + 1)
    assert loaded.y_[-1, 0] == n_told


def fit(say, checkpoints, result):
    plain = Checkpoint.save

    def save(self, tensors, facts):
        plain(self, tensors, facts)
        say(facts["step"])

    Checkpoint.save, _training.CHECKPOINT_SECONDS = save, 0.0
    prompts, scores, responses = learnable(80)
    made = MaskedLookaheadRouter(tiny("bert"), encoder="drop", response_tokens=3, batch_size=8,
                           max_epochs=2, early_stopping=False, random_state=0,
                           checkpoint_folder=checkpoints)  # fmt: skip
    made.fit(prompts, scores, responses=responses).save_pretrained(result)


def test_a_fit_that_is_killed_twice_ends_like_one_that_was_not(tmp_path):
    status, steps = Child(fit, tmp_path / "whole", tmp_path / "expected").end()
    assert status == 0
    done = 0
    for seed in range(2):
        process = Child(fit, tmp_path / "checkpoints", tmp_path / "got")
        numbers = process.kill_after(3, random.Random(seed).uniform(0, 0.03))
        assert numbers[0] > done  # it went on from where it was, not from the start
        done = numbers[-1]
    status, resumed = Child(fit, tmp_path / "checkpoints", tmp_path / "got").end()
    assert status == 0
    assert 1 <= len(resumed) < len(steps)
    for name in ("router.json", "arrays.safetensors"):
        assert (tmp_path / "got" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()
    assert not any((tmp_path / "checkpoints").rglob("*.safetensors"))


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class FullDisk:
    """A small file system of its own; a skip where one may not be made."""

    def __init__(self, folder, kilobytes):
        self.folder = folder
        folder.mkdir()
        options = f"size={kilobytes}k"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("a file system cannot be mounted here")

    def __enter__(self):
        return self.folder

    def __exit__(self, *exception):
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


def fill(folder):
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017


def test_on_a_full_disk_a_router_and_an_optimizer_keep_their_old_state(tmp_path):
    with FullDisk(tmp_path / "disk", 600) as disk:
        made_router().save_pretrained(disk / "router")
        optimizer = TwoStepConstrainedBO([(0, 1)], random_state=0)
        optimizer.tell([[0.5]], [1.0])
        optimizer.save(disk / "run.json")
        fill(disk)
        before = contents(disk)
        with pytest.raises(OSError, match=r"space|could not be written"):
            renumbered(made_router(), 1, size=10**5).save_pretrained(disk / "router")
        optimizer.tell(np.full((9000, 1), 0.25), np.zeros(9000))
        with pytest.raises(OSError, match="No space left"):
            optimizer.save(disk / "run.json")
        checkpoint = Checkpoint(disk / "router", "run")
        with pytest.raises(OSError, match=r"space|could not be written"):
            checkpoint.save({"now.a": torch.zeros(10**5)}, {"step": 1})
        assert contents(disk) == before
        assert len(TwoStepConstrainedBO.load(disk / "run.json").y_) == 1


def full(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("place", ["rename", "replace", "write_text", "chmod"])
def test_a_write_that_fails_leaves_the_old_state_and_nothing_else(tmp_path, monkeypatch, place):
    made_router().save_pretrained(tmp_path / "router")
    optimizer = TwoStepConstrainedBO([(0, 1)], random_state=0)
    optimizer.save(tmp_path / "run.json")
    before = contents(tmp_path)
    optimizer.tell([[0.5]], [1.0])
    if place == "rename":  # only the second of the two moves fails
        plain = Path.rename

        def rename(self, target):
            return (
                full()
                if target == tmp_path / "router"
                and self.name[0] == "."
                and (self / "README.md").exists()
                and self.parent == tmp_path
                else plain(self, target)
            )

        monkeypatch.setattr(Path, place, rename)
    else:
        monkeypatch.setattr(Path, place, full)
    if place != "replace":
        with pytest.raises(OSError, match="No space left"):
            renumbered(made_router(), 3).save_pretrained(tmp_path / "router")
    if place != "rename":
        with pytest.raises(OSError, match="No space left"):
            optimizer.save(tmp_path / "run.json")
    monkeypatch.undo()
    assert contents(tmp_path) == before
    assert LookaheadRouter.from_pretrained(tmp_path / "router").n_prompts_ == 20


def test_what_safetensors_cannot_write_is_told_as_an_os_error(tmp_path):
    with pytest.raises(OSError, match=r"nowhere.*could not be written"):
        _folder._write_arrays({"a": np.zeros(2)}, tmp_path / "nowhere" / "a.safetensors")


def test_a_folder_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    made, optimizer = made_router(), TwoStepConstrainedBO([(0, 1)], random_state=0)
    made.save_pretrained(tmp_path / "router")
    optimizer.save(tmp_path / "run.json")
    before = contents(tmp_path)

    def forbidden(*arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path))

    # Root may write everywhere, so the refusal is made here and not by the system.
    for module in (_folder.tempfile, _files.tempfile):
        monkeypatch.setattr(module, "mkdtemp", forbidden)
        monkeypatch.setattr(module, "mkstemp", forbidden)
    for save in (
        lambda: made.save_pretrained(tmp_path / "router"),
        lambda: optimizer.save(tmp_path / "run.json"),
        lambda: Checkpoint(tmp_path, "run").save({"now.a": torch.zeros(3)}, {}),
    ):
        with pytest.raises(PermissionError, match=tmp_path.name):
            save()
    assert contents(tmp_path) == before


def test_a_read_only_disk_is_told(tmp_path):
    with FullDisk(tmp_path / "disk", 600) as disk:
        made_router().save_pretrained(disk / "router")
        before = contents(disk)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for save in (
            lambda: renumbered(made_router(), 1).save_pretrained(disk / "router"),
            lambda: TwoStepConstrainedBO([(0, 1)]).save(disk / "run.json"),
            lambda: Checkpoint(disk, "run").save({"now.a": torch.zeros(3)}, {}),
        ):
            with pytest.raises(OSError, match="Read-only file system"):
                save()
        assert contents(disk) == before
        assert LookaheadRouter.from_pretrained(disk / "router").n_prompts_ == 20


def test_a_checkpoint_of_another_network_is_refused_by_name(tmp_path, monkeypatch):
    prompts, scores, _ = learnable(20)
    monkeypatch.setattr(_checkpoint.Checkpoint, "remove", lambda self: None)
    options = {"backbone": tiny("bert"), "encoder": "drop", "max_epochs": 1, "random_state": 0}
    made = MaskedLookaheadRouter(checkpoint_folder=tmp_path, **options).fit(prompts, scores)
    (path,) = tmp_path.rglob("training.safetensors")
    tensors, facts = Checkpoint(tmp_path, path.parent.name).load()
    before = made.predict_quality(prompts)
    name = next(key for key in tensors if key.startswith("now."))
    for broken in ({}, {**tensors, name: torch.zeros(1)}):
        Checkpoint(tmp_path, path.parent.name).save(broken, facts)
        with pytest.raises(ValueError, match=r"damaged file, .*training\.safetensors"):
            made.fit(prompts, scores)
    np.testing.assert_array_equal(made.predict_quality(prompts), before)
    Checkpoint(tmp_path, path.parent.name).save(tensors, {})
    with pytest.raises(ValueError, match=r"damaged file, .*training\.safetensors"):
        made.fit(prompts, scores)
