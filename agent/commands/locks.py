"""Locks made of keys and a session, a mutex and a semaphore, as Consul's own clients make them.

Both live under `<prefix>/.lock`, so that two who disagree which of them it is are told. Called by `lock`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from chowk.agent.commands.client import ApiClient, ApiError, Unreachable, path_of
from chowk.agent.commands.command import Failure
from chowk.agent.commands.kv_client import NOT_FOUND, Pair, delete_key, get_pairs, write_key

MUTEX_FLAGS: Final = 0x2DDCCBC058A50C18
SEMAPHORE_FLAGS: Final = 0xE0F69A2BAA414DE0
"""Consul's marks of the two, by which a key that is used otherwise is told."""
KEY: Final = ".lock"
TTL_S: Final = 15
RENEW_S: Final = 5.0
WATCH_WAIT_S: Final = 15.0
ACQUIRE_WAIT_S: Final = 1.0
"""Short, for a signal is only heard between two looks."""
RETRY_S: Final = 1.0


class Lock(Protocol):
    """What a session may hold."""

    def try_acquire(self, index: int, wait_s: float) -> int | None:
        """Wait for a change since `index`, up to `wait_s`, and try: None when it is held now, else the index to go on from.
        Failure when the key is no lock of this kind."""
        ...

    def watch(self, index: int) -> tuple[bool, int]:
        """Wait for a change: whether it is held still, and the index to go on from."""
        ...

    def release(self) -> None:
        """Let go, and remove what nobody needs."""
        ...


class HeldSession:
    """A session, renewed by a thread of its own from `start` to `end`. `lost` is set when it has ended by itself."""

    def __init__(self, api: ApiClient, name: str) -> None:
        self._api = api
        body = {"Name": name, "TTL": f"{TTL_S}s"}
        self.id = str(api.put(path_of("session", "create"), body=body).json()["ID"])
        self.lost = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="renew", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def end(self) -> None:
        """Destroy the session; an agent that is gone is not waited for."""
        self._ended.set()
        try:
            self._api.put(path_of("session", "destroy", self.id))
        except (ApiError, Unreachable):
            return  # its TTL ends it

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_S):
            try:
                self._api.put(path_of("session", "renew", self.id))
            except ApiError as error:
                if error.status == NOT_FOUND:
                    self.lost.set()
                    return
            except Failure:
                continue  # the next time, or the watch of the lock, tells


class Mutex:
    """One holder at a time."""

    def __init__(self, api: ApiClient, prefix: str, session: str) -> None:
        self._api = api
        self._key = f"{prefix}/{KEY}"
        self._session = session

    def try_acquire(self, index: int, wait_s: float) -> int | None:
        """See Lock."""
        pair, index = _read(self._api, self._key, index, wait_s)
        _check(pair, MUTEX_FLAGS, "a lock")
        if pair is not None and pair.session not in ("", self._session):
            return index
        if write_key(self._api, self._key, query={"acquire": self._session, "flags": str(MUTEX_FLAGS)}):
            return None
        time.sleep(RETRY_S)  # somebody was quicker, or it is the lock-delay of one that was lost
        return 0

    def watch(self, index: int) -> tuple[bool, int]:
        """See Lock."""
        pair, index = _read(self._api, self._key, index)
        return pair is not None and pair.session == self._session, index

    def release(self) -> None:
        """See Lock."""
        write_key(self._api, self._key, query={"release": self._session, "flags": str(MUTEX_FLAGS)})
        pair, _index = _read(self._api, self._key, 0)
        if pair is not None and pair.flags == MUTEX_FLAGS and not pair.session:
            delete_key(self._api, self._key, {"cas": str(pair.modify_index)})


class Semaphore:
    """`limit` holders at a time: each has a key of its own under the prefix, and the lock's key lists who of them may."""

    def __init__(self, api: ApiClient, prefix: str, session: str, limit: int) -> None:
        self._api = api
        self._prefix = prefix
        self._key = f"{prefix}/{KEY}"
        self._own = f"{prefix}/{session}"
        self._session = session
        self._limit = limit
        self._entered = False
        self._held = False

    def try_acquire(self, index: int, wait_s: float) -> int | None:
        """See Lock."""
        if not self._entered:
            query = {"acquire": self._session, "flags": str(SEMAPHORE_FLAGS)}
            if not write_key(self._api, self._own, query=query):
                raise Failure("the semaphore's key of this session is taken")
            self._entered = True
        pairs, index = self._read(index, wait_s)
        lock, holders = self._holders(pairs)
        if len(holders) >= self._limit:
            return index
        self._held = self._write(lock, {*holders, self._session})
        return None if self._held else 0

    def watch(self, index: int) -> tuple[bool, int]:
        """See Lock."""
        pairs, index = self._read(index)
        _lock, holders = self._holders(pairs)
        return self._session in holders, index

    def release(self) -> None:
        """See Lock."""
        if not self._entered:
            return
        was_held = self._held
        while self._held:
            lock, holders = self._holders(self._read(0)[0])
            if self._session not in holders or self._write(lock, holders - {self._session}):
                self._held = False
        delete_key(self._api, self._own)
        if was_held:
            lock, holders = self._holders(self._read(0)[0])
            if lock is not None and not holders:
                delete_key(self._api, self._key, {"cas": str(lock.modify_index)})

    def _read(self, index: int, wait_s: float = WATCH_WAIT_S) -> tuple[list[Pair], int]:
        query = {"recurse": "1", "consistent": "1", **_blocking(index, wait_s)}
        return get_pairs(self._api, f"{self._prefix}/", query)

    def _holders(self, pairs: list[Pair]) -> tuple[Pair | None, set[str]]:
        """The lock's entry, and those of its holders that live."""
        lock = next((pair for pair in pairs if pair.key == self._key), None)
        if lock is None:
            return None, set()
        _check(lock, SEMAPHORE_FLAGS, "a semaphore")
        try:
            found: Any = json.loads(lock.value)
            limit, listed = found["Limit"], set(found["Holders"])
        except (ValueError, KeyError, TypeError):
            raise Failure(f"the key {self._key} holds no semaphore") from None
        if limit != self._limit:
            raise Failure(f"semaphore limit conflict: others hold {self._key} with -n {limit}, not {self._limit}")
        alive = {pair.session for pair in pairs if pair.session and pair is not lock}
        return lock, listed & alive

    def _write(self, lock: Pair | None, holders: set[str]) -> bool:
        value = json.dumps({"Limit": self._limit, "Holders": dict.fromkeys(sorted(holders), True)}).encode()
        query = {"cas": str(lock.modify_index if lock is not None else 0), "flags": str(SEMAPHORE_FLAGS)}
        return write_key(self._api, self._key, value, query)


def acquire(lock: Lock, deadline_s: float | None, is_over: Callable[[], bool]) -> bool:
    """Acquire; False when the monotonic `deadline_s` passed, or `is_over` says so."""
    index: int | None = 0
    while True:
        left_s = ACQUIRE_WAIT_S if deadline_s is None else deadline_s - time.monotonic()
        index = lock.try_acquire(index or 0, min(ACQUIRE_WAIT_S, max(0.01, left_s)))
        if index is None:
            return True
        if is_over() or (deadline_s is not None and time.monotonic() >= deadline_s):
            return False


def _read(api: ApiClient, key: str, index: int, wait_s: float = WATCH_WAIT_S) -> tuple[Pair | None, int]:
    pairs, index = get_pairs(api, key, {"consistent": "1", **_blocking(index, wait_s)})
    return (pairs[0] if pairs else None), index


def _blocking(index: int, wait_s: float) -> dict[str, str]:
    return {"index": str(index), "wait": f"{wait_s:.3f}s"} if index else {}


def _check(pair: Pair | None, flags: int, what: str) -> None:
    if pair is not None and pair.flags != flags:
        raise Failure(f"the key {pair.key} exists and is not {what}: choose another prefix")
