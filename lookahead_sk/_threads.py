"""Locks that survive a fork."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any


class ThreadLock:
    """A reentrant lock for module-wide state; a forked child starts with it open.

    Without that a child that was forked while another thread held the lock would wait for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: Any) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Open the lock in a forked child."""
        self._lock = threading.RLock()


_locks: weakref.WeakSet[ThreadLock] = weakref.WeakSet()


def _renew_all() -> None:
    for lock in list(_locks):
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
