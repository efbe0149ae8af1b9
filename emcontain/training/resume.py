"""States a killed run goes on from: the Trainer's own checkpoints, complete, unaltered and of the same run.

They live in a hidden folder beside the adapter, named by everything the result depends on, and vanish when it is done.
Optimizer states are pickles; they are written here, read back with torch's weights-only loader, and never published.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from emcontain.cache import sha256_file
from emcontain.errors import UserError

_MARKER = "COMPLETE.json"


@dataclass
class Run:
    """The scratch folder of one run.

    Attributes:
        folder: holds the Trainer's states, finished copies of the adapter, and a lock.
        key: hash of everything the result depends on.
        seconds: training time of earlier attempts.
        resumed: updates after which earlier attempts were taken up again.
    """

    folder: Path
    key: str
    seconds: float = 0.0
    resumed: list[int] = field(default_factory=list)
    _lock: filelock.FileLock | None = None

    @property
    def states(self) -> Path:
        """Where the Trainer writes."""
        return self.folder / "trainer"

    def open(self) -> Path | None:
        """Take the folder for this process alone and find the state to go on from.

        Returns:
            The newest complete state, or None to start anew.

        Raises:
            UserError: another process is at it, or the folder belongs to somebody else.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.folder.stat().st_uid != os.getuid():
            raise UserError(f"'{self.folder}' belongs to another user: remove it or choose another --out")
        if is_main():
            self._lock = filelock.FileLock(self.folder / "lock")
            try:
                self._lock.acquire(timeout=0)
            except filelock.Timeout:
                raise UserError(f"another process is training into '{self.folder.parent}' with this recipe") from None
        states = sorted(self.states.glob("checkpoint-*"), key=_update, reverse=True)
        for state in states:
            marker = self._read(state)
            if marker is not None:
                self.seconds, self.resumed = marker["seconds"], [*marker["resumed"], _update(state)]
                return state
        return None

    def _read(self, state: Path) -> dict[str, Any] | None:
        """The marker of a state that is complete, of this run and as it was written; else None."""
        try:
            marker: dict[str, Any] = json.loads((state / _MARKER).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        if marker["key"] != self.key or marker["files"] != _hashes(state):
            return None
        return marker

    def mark(self, state: Path, seconds: float) -> None:
        """Declare a state complete."""
        content = {
            "key": self.key,
            "seconds": round(self.seconds + seconds, 1),
            "resumed": self.resumed,
            "files": _hashes(state),
        }
        part = state / f"{_MARKER}.part"
        part.write_text(json.dumps(content))
        os.replace(part, state / _MARKER)

    def close(self, done: bool) -> None:
        """Let go of the folder; it goes where the work is done or nothing in it is worth keeping."""
        if not is_main():
            return
        kept = not done and any((s / _MARKER).is_file() for s in self.states.glob("checkpoint-*"))
        if self._lock is not None:
            self._lock.release()
        if not kept:
            shutil.rmtree(self.folder, ignore_errors=True)


def alone() -> bool:
    """Whether this is the run's only process."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1


def is_main() -> bool:
    """Whether this process writes: the only one, or the first of several."""
    return os.environ.get("RANK", "0") == "0"


def _update(state: Path) -> int:
    return int(state.name.rpartition("-")[2])


def _hashes(state: Path) -> dict[str, str]:
    files = (p for p in sorted(state.rglob("*")) if p.is_file() and not p.name.startswith(_MARKER))
    return {str(p.relative_to(state)): sha256_file(p) for p in files}
