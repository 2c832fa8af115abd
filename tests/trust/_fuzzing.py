"""How many cases are tried, and what is common to them."""

import sys

from hypothesis import settings
from hypothesis import strategies as st

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
        assert self.seen == []


WATCH = Watch()
