"""What every part of ``benchmarks/cuda.py`` is given: data, backbones, sizes, device and clock."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold

from lookahead_sk import CausalLookaheadRouter, LookaheadRouter, MaskedLookaheadRouter

N_FOLDS, SEED = 5, 0
ARMS = ("embedding", "causal-on", "causal-off", "masked-on", "masked-off")
CONVERTER = Path(__file__).with_name("_backbones.py")
CLASSES: dict[str, Any] = {"causal": CausalLookaheadRouter, "masked": MaskedLookaheadRouter}


class Step(NamedTuple):
    """One piece of a part: its record is written when it ends."""

    label: str
    kind: str  # steps of one kind take about the same time
    work: Callable[[], dict[str, Any]]
    reserve: float = 5.0  # seconds that are kept for what follows


class Clock:
    """Seconds that are left of the run."""

    def __init__(self, minutes: float) -> None:
        self.end = time.perf_counter() + 60 * minutes

    def left(self) -> float:
        """Seconds until the run must be over."""
        return self.end - time.perf_counter()


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    n_prompts: int | None = None  # of the data; None: all
    n_fit: int = 400  # prompts of the comparison of CPU and GPU
    n_predicted: int = 512
    asks: tuple[tuple[int, int], ...] = ((6, 60), (20, 60), (6, 400), (20, 400))  # d, n
    n_asks: int = 3
    ask_seconds: float = 60.0
    epochs: tuple[tuple[str, int], ...] = (("causal", 2), ("masked", 4))
    tokens: tuple[tuple[str, int], ...] = (("causal", 64), ("masked", 16))
    batch_size: int = 64
    max_length: int | None = None
    n_agreement: int = 64
    n_profile: int = 1024
    n_steps: int = 5
    layers: tuple[int, ...] = (10, 15, 20)
    test_seconds: float = 100.0
    reserve: float = 100.0  # seconds kept for the profile and the hidden states
    folds: tuple[int, ...] = (0, 1, 2, 3, 4)
    arms: tuple[str, ...] = ARMS


TINY = Sizes(
    n_prompts=40,
    n_fit=24,
    n_predicted=8,
    asks=((2, 10),),
    n_asks=1,
    epochs=(("causal", 1), ("masked", 1)),
    tokens=(("causal", 4), ("masked", 3)),
    batch_size=8,
    max_length=12,
    n_agreement=4,
    n_profile=20,
    n_steps=1,
    layers=(1, 2),
    test_seconds=60.0,
    reserve=1.0,
    folds=(0, 1),
)


@dataclass
class Setup:
    """Everything that a part reads.

    Attributes
    ----------
    data : Bunch
        Prompts, scores, responses, response_chars and benchmark.
    minilm : Path
        Folder of the sentence encoder, which is the masked backbone too.
    smollm2 : CausalFolder
        The causal backbone.
    device : str
        "cuda", or "cpu" in a rehearsal.
    """

    data: Any
    minilm: Path
    smollm2: CausalFolder
    device: str
    sizes: Sizes
    out: Path
    clock: Clock
    learning_rate: float = 5e-5

    @cached_property
    def folds(self) -> list[tuple[Any, Any]]:
        """The folds of ``benchmarks/routing_lm.py``."""
        split = StratifiedKFold(N_FOLDS, shuffle=True, random_state=SEED)
        return list(split.split(self.data.prompts, self.data.benchmark))

    def prompts(self, rows: Any) -> list[str]:
        """Texts of some prompts."""
        return [str(self.data.prompts[i]) for i in rows]

    def given(self, rows: Any) -> dict[str, Any]:
        """What `fit` is given of some prompts."""
        return {
            "X": self.prompts(rows),
            "y": self.data.scores[rows],
            "responses": self.data.responses[rows],
            "response_lengths": self.data.response_chars[rows].astype(float),
        }

    def embedding_router(self, device: str) -> LookaheadRouter:
        """The default router with the packaged encoder."""
        return LookaheadRouter(str(self.minilm), device=device, random_state=SEED)

    def router(self, approach: str, **changes: Any) -> Any:
        """A fine-tuned router with the recipe of the paper, scaled to the time."""
        sizes = self.sizes
        options = {
            "backbone": self.smollm2.path() if approach == "causal" else str(self.minilm),
            "encoder": "drop",  # what is timed and scored is the fine-tuning
            "response_tokens": dict(sizes.tokens)[approach],
            "max_length": sizes.max_length,
            "max_epochs": dict(sizes.epochs)[approach],
            "batch_size": sizes.batch_size,
            "learning_rate": self.learning_rate,
            "device": self.device,
            "dtype": "bfloat16",
            "random_state": SEED,
        }
        return CLASSES[approach](**{**options, **changes})

    def synchronize(self) -> None:
        """Wait for the GPU."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any]) -> float:
        """Wall time of a call, the GPU's work included."""
        self.synchronize()
        start = time.perf_counter()
        work()
        self.synchronize()
        return time.perf_counter() - start


class CausalFolder:
    """A folder with the causal backbone; a GGUF is converted by a process of its own meanwhile.

    Parameters
    ----------
    source : Path
        A folder, or a GGUF file.
    cache : Path
        Where a GGUF is converted to.
    """

    def __init__(self, source: Path, cache: Path) -> None:
        self.folder, self.process = source, None
        if source.is_file():
            self.folder = cache / "smollm2"
            command = [sys.executable, str(CONVERTER), str(source), str(self.folder)]
            self.log = cache / "conversion.log"
            with self.log.open("w") as log:
                self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def path(self) -> str:
        """The folder, once it is complete."""
        if self.process is not None and self.process.wait() != 0:
            raise OSError(f"the GGUF could not be converted: {self.log.read_text()[-2000:]}")
        return str(self.folder)

    def close(self) -> None:
        """End a conversion that nobody waits for any more."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


def load_data(folder: Path | None, n_prompts: int | None) -> Any:
    """The seven benchmarks, or a random part of them; made-up data where there is no folder."""
    from lookahead_sk.datasets import fetch_lookahead_bench, make_routing

    if folder is not None:
        data = fetch_lookahead_bench(folder=folder)
    else:
        data = make_routing(n_prompts or 40, random_state=SEED)
        lengths = [[len(text) for text in row] for row in data.responses]
        data.response_chars = np.array(lengths)
        data.benchmark = np.array(["even", "odd"])[np.arange(len(data.prompts)) % 2]
    if n_prompts is not None:
        rows = np.random.RandomState(SEED).permutation(len(data.prompts))[:n_prompts]
        for name in ("prompts", "scores", "responses", "response_chars", "benchmark"):
            data[name] = np.asarray(data[name])[rows]
    return data


def tiny_encoder(folder: Path) -> Path:
    """A one-layer SentenceTransformer with random weights."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(c) for c in range(33, 127)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary += letters + [f"##{letter}" for letter in letters]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder / "bert")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    transformer = Transformer(str(folder / "bert"), max_seq_length=64)
    pooling = Pooling(transformer.get_embedding_dimension())
    modules = [transformer, pooling]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "model"))
    return folder / "model"


def tiny_causal(folder: Path) -> Path:
    """A two-layer Llama with random weights and a tokenizer of bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(["<end>", *letters])}
    raw = Tokenizer(models.BPE(vocabulary, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = {"eos_token": "<end>", "pad_token": "<end>"}
    PreTrainedTokenizerFast(tokenizer_object=raw, **special).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        eos_token_id=0,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
