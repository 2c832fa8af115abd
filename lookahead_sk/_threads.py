"""Locks that survive a fork."""

from __future__ import annotations

import os
import threading
from typing import Any


def fork_safe_lock() -> Any:
    """A reentrant lock for module-wide state; a forked child starts with it open.

    Without that a child that was forked while another thread held the lock would wait for ever.
    It is kept open as Python's own ``logging`` keeps its locks.

    Returns
    -------
    threading.RLock
        For the life of the process.
    """
    lock: Any = threading.RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lock._at_fork_reinit)
    return lock
