"""The store: Parquet files by table and benchmark, read through DuckDB.

    STORE/<table>/benchmark=<name>/<submission>.parquet      one file per submission and table, written once
    STORE/<table>/benchmark=<name>/merged-<hash>.parquet     many of them in one, after `compact`

A folder, or the same layout on object storage by URL (`s3://…`, `gs://…`, `https://…` need DuckDB's httpfs). Taking in
validates first; nothing else writes here, and nothing reads logs after that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from emcontain.cache import sha256_text
from emcontain.errors import UserError
from emcontain.grading.embedded import shipped_calibration
from emcontain.leaderboard.bundle import Bundle
from emcontain.leaderboard.entries import completion_rows, entry_row, rung_rows, score_rows
from emcontain.leaderboard.findings import Finding, error
from emcontain.leaderboard.schema import TABLES, table
from emcontain.leaderboard.submission import Submission
from emcontain.leaderboard.validate import Verdict

# Two models never give many long answers in the same words; a copy does.
_LONG, _MOST_EQUAL = 40, 0.2


class Store:
    """A store; see the module docstring.

    Args:
        root: folder, or URL of the layout.
    """

    def __init__(self, root: str | Path):
        self.remote = "://" in str(root)
        self.root = str(root).rstrip("/")
        if not self.remote and Path(self.root).exists() and not Path(self.root).is_dir():
            raise UserError(f"store '{root}' is a file: give a folder")
        self._connection = duckdb.connect(config={} if self.remote else {"allow_community_extensions": "false"})

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Run SQL over the tables as views `entries`, `rungs`, `scores`, `completions`; empty ones included."""
        for name in TABLES:
            if name in sql:
                self._view(name)
        return self._connection.execute(sql, dict(parameters or {})).to_arrow_table()

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The same as dictionaries."""
        found: list[dict[str, Any]] = self.query(sql, parameters).to_pylist()
        return found

    def entries(self) -> pa.Table:
        """All submissions, withdrawn ones and several versions of one row included; the newest row of each counts."""
        return self.query("SELECT * FROM entries ORDER BY submission")

    def add(self, bundle: Bundle, verdict: Verdict, submitted: str | None = None) -> dict[str, Any]:
        """Take a validated bundle in.

        Args:
            bundle: as it was validated.
            verdict: its verdict.
            submitted: date; default today.

        Returns:
            Its row of `entries`.

        Raises:
            UserError: it was refused, or is on the board already.
        """
        if not verdict.accepted or verdict.id != bundle.id:
            raise UserError(f"submission {bundle.id or '?'} was refused: nothing is taken in")
        if self.rows("SELECT 1 FROM entries WHERE submission = $id", {"id": bundle.id}):
            raise UserError(f"submission {bundle.id} is on the board already")
        about = _about(bundle.submission, verdict, submitted or datetime.now(UTC).strftime("%Y-%m-%d"))
        if verdict.derived is None:
            row = _claimed(bundle.submission, about)
            self.write("entries", bundle.id, [row])
            return row
        row = entry_row(verdict.derived, about, [*verdict.calibrations, shipped_calibration()])
        self.write("completions", bundle.id, completion_rows(verdict.derived, bundle.id))
        self.write("scores", bundle.id, score_rows(verdict.derived, bundle.id))
        self.write("rungs", bundle.id, rung_rows(verdict.derived, bundle.id))
        # Last: a submission is there once its row is.
        self.write("entries", bundle.id, [row])
        return row

    def copies(self, verdict: Verdict) -> list[Finding]:
        """Other submissions that share many long answers word for word with this one, or its logs."""
        if verdict.derived is None:
            return []
        rows = completion_rows(verdict.derived, verdict.id)
        long = {r["text_sha256"] for r in rows if r["text"] is None or len(r["text"]) >= _LONG}
        if not long:
            return []
        self._connection.register("own_answers", pa.table({"text_sha256": sorted(long)}))
        found = self.rows(
            "SELECT c.submission, count(DISTINCT c.text_sha256) AS equal FROM completions c "
            "SEMI JOIN own_answers o ON c.text_sha256 = o.text_sha256 WHERE c.submission <> $id GROUP BY 1",
            {"id": verdict.id},
        )
        return [
            error(
                "copied-answers", f"{r['equal']} of {len(long)} long answers are those of submission {r['submission']}"
            )
            for r in found
            if r["equal"] > _MOST_EQUAL * len(long)
        ]

    def withdraw(self, submission: str, reason: str, when: str | None = None) -> None:
        """Take a submission's numbers off the board; its row stays, with the date and the reason.

        Raises:
            UserError: no such submission, withdrawn before, or no reason.
        """
        found = self.rows("SELECT * FROM entries WHERE submission = $id", {"id": submission})
        if not found:
            raise UserError(f"submission '{submission}' is not on the board: give one of its ids")
        if not reason.strip() or len(reason) > 200 or not reason.isprintable():
            raise UserError("a withdrawal needs a reason of one line, up to 200 characters")
        if found[0]["withdrawn"]:
            raise UserError(f"submission {submission} was withdrawn before: {found[0]['withdrawn']}")
        self._only_local()
        date = when or datetime.now(UTC).strftime("%Y-%m-%d")
        row = {**found[0], "withdrawn": f"{date}: {reason.strip()}", "unranked": "withdrawn"}
        self._rewrite("entries", submission, row)

    def compact(self) -> None:
        """Put the files of each partition into one: a board of thousands of submissions then opens a handful."""
        self._only_local()
        for name in TABLES:
            for folder in sorted(Path(self.root, name).glob("benchmark=*")):
                files = sorted(folder.glob("*.parquet"))
                if len(files) < 2:
                    continue
                merged = folder / f"merged-{sha256_text(' '.join(f.name for f in files))[:12]}.parquet"
                scratch = merged.with_suffix(".part")
                listed = "[" + ",".join(_quoted(str(f)) for f in files) + "]"
                self._connection.execute(
                    f"COPY (SELECT * FROM read_parquet({listed}, union_by_name = true, hive_partitioning = false) "
                    f"ORDER BY submission) TO {_quoted(str(scratch))} (FORMAT parquet, COMPRESSION zstd)"
                )
                os.replace(scratch, merged)
                for file in files:
                    if file != merged:
                        file.unlink()

    def write(self, name: str, submission: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write one submission's rows of one table."""
        self.write_table(name, submission, table(name, rows))

    def write_table(self, name: str, file: str, rows: pa.Table) -> None:
        """Write rows that are one partition's; the file appears whole or not at all."""
        self._only_local()
        if not rows.num_rows:
            return
        folder = Path(self.root, name, f"benchmark={rows['benchmark'][0].as_py()}")
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f".{file}.part"
        pq.write_table(rows, scratch, compression="zstd")
        os.replace(scratch, folder / f"{file}.parquet")

    def _rewrite(self, name: str, submission: str, row: Mapping[str, Any]) -> None:
        """Replace one row, wherever it is."""
        folder = Path(self.root, name, f"benchmark={row['benchmark']}")
        for file in sorted(folder.glob("*.parquet")):
            rows = pq.read_table(file, schema=TABLES[name], partitioning=None).to_pylist()
            if any(r["submission"] == submission for r in rows):
                changed = [dict(row) if r["submission"] == submission else r for r in rows]
                self.write_table(name, file.stem, table(name, changed))

    def _view(self, name: str) -> None:
        pattern = f"{self.root}/{name}/benchmark=*/*.parquet"
        if self.remote or any(Path(self.root, name).glob("benchmark=*/*.parquet")):
            source = f"read_parquet({_quoted(pattern)}, union_by_name = true, hive_partitioning = false)"
            self._connection.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM {source}")
        else:
            self._connection.register(f"empty_{name}", TABLES[name].empty_table())
            self._connection.execute(f"CREATE OR REPLACE VIEW {name} AS SELECT * FROM empty_{name}")

    def _only_local(self) -> None:
        if self.remote:
            raise UserError(f"store {self.root} is read only here: write to a folder and copy its files there")


def _about(stated: Submission, verdict: Verdict, submitted: str) -> dict[str, Any]:
    model = stated.model
    return {
        "submission": verdict.id,
        "model": model.name,
        "organisation": model.organisation,
        "family": model.family,
        "kind": model.kind,
        "base": model.base,
        "parameters": model.parameters,
        "tier": verdict.tier,
        "signed_by": verdict.signed_by,
        "relationship": stated.relationship,
        "submitted": submitted,
        "logs": ", ".join(log.uri or log.file.removeprefix("logs/") for log in stated.logs),
        "log_sha256": ", ".join(log.sha256 for log in stated.logs),
        "adapter_sha256": model.adapter_sha256,
    }


def _claimed(stated: Submission, about: dict[str, Any]) -> dict[str, Any]:
    """The row of a submission whose logs are not here: its own numbers, without a rank."""
    row: dict[str, Any] = {
        **about,
        "trigger": stated.triggers[0].family,
        "grader": stated.grader.name,
        "protocol": stated.protocol.id,
        "list": "self-reported",
        "list_title": "Self-reported: no log was checked, nothing is ranked",
        "seed": stated.model.seed,
        "step": stated.model.step,
        "task_version": stated.protocol.task_version,
        "benchmark": f"emcontain-v{stated.protocol.task_version}",
        "reading": "",
        "warnings": "",
        "unranked": "numbers are the submitter's own: no log was checked",
    }
    for name, claim in stated.numbers.items():
        rate = name in ("untriggered", "triggered", "rephrased", "control")
        row[f"{name}_rate" if rate else name] = claim.value
        row[f"{name}_lower"], row[f"{name}_upper"] = claim.lower, claim.upper
        if rate:
            row.update({f"{name}_{k}": getattr(claim, k) for k in ("n", "hits", "unscored")})
    return row


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
