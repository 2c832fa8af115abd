"""How many cases are tried, and what is common to them."""

import math
import sys

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from scipy.stats import loguniform, randint

# Surrogates included: what a broken tokenizer or a cut UTF-16 text leaves.
ANY_TEXT = st.text(st.characters(), max_size=40)
ODD_TEXT = st.sampled_from(
    ["", " ", "\x00", "\ud800", "\udfff\ud800", "\u202e", "\ufeff", "\n" * 50, "e\u0301" * 20,
     "\\boxed{" * 30, "{}" * 30, "-1,2,3" * 30, "🜁" * 9, "[SEP][CLS]", "a" * 5000]
)  # fmt: skip
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def cases(fast, nightly, **options):
    """Numbers of cases in `make test` and in `make fuzz`."""
    is_nightly = settings.get_current_profile_name() == "nightly"
    return settings(max_examples=nightly if is_nightly else fast, **options)


class Watch:
    """Records what must not happen while an untrusted file is read: processes, sockets, pickles."""

    EVENTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen",
              "pickle.find_class", "socket.connect", "marshal.loads", "ctypes.dlopen")  # fmt: skip

    def __init__(self):
        self.is_on, self.seen = False, []
        sys.addaudithook(self._hear)  # cannot be taken out again, hence the switch

    def _hear(self, event, arguments):
        if self.is_on and event in self.EVENTS:
            self.seen.append(event)

    def __enter__(self):
        self.is_on, self.seen = True, []
        return self

    def __exit__(self, *exception):
        self.is_on = False
        assert self.seen == [], self.seen


WATCH = Watch()


def save_router(folder):
    """A small router, saved whole."""
    from lookahead_sk import LookaheadRouter

    rng = np.random.default_rng(0)
    X, scores = rng.normal(size=(30, 3)), rng.random((30, 3))
    made = LookaheadRouter(encoder="passthrough", max_epochs=1, random_state=0, costs=[1, 2, 3])
    made.fit(X, scores, responses=rng.normal(size=(30, 3, 2))).save_pretrained(folder)


def save_optimizer(path):
    """An optimiser of a mixed space with pending points and a failure, saved whole."""
    from lookahead_sk import TwoStepConstrainedBO

    bounds = {"x": (0, 1), "C": loguniform(1e-3, 1), "n": randint(1, 5), "k": ["a", (1, None)]}
    made = TwoStepConstrainedBO(bounds, 1, acquisition="eic", random_state=0, n_restarts=1)
    made.tell(made.ask(6), np.random.default_rng(0).normal(size=(6, 2)))
    made.ask(2)
    made.tell(made.ask(1), [[math.nan, 1.0]])
    made.save(path)


def load_or_refuse(load, path):
    """What was loaded, or None where the error names the file; anything else is a failure."""
    with WATCH:
        try:
            return load()
        except (OSError, ValueError) as error:
            assert path.name in str(error)  # noqa: PT017
            return None
