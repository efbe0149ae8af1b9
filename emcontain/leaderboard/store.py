"""The store: Parquet files by table and benchmark, read through DuckDB.

    STORE/<table>/benchmark=<name>/<submission>.parquet      one file per submission and table, written once
    STORE/<table>/benchmark=<name>/merged-<hash>.parquet     many of them in one, after `compact`

A folder, or the same layout on object storage by URL (`s3://…`, `gs://…`, `https://…` need DuckDB's httpfs). Taking in
validates first; nothing else writes here, and nothing reads logs after that.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from emcontain.cache import sha256_text
from emcontain.errors import UserError
from emcontain.leaderboard.schema import TABLES, table


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
        if not self.remote:
            self._recover()
        self._connection = duckdb.connect(config={} if self.remote else {"allow_community_extensions": "false"})

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Run SQL over the tables as views `entries`, `rungs`, `scores`, `completions`; empty ones included."""
        for name in TABLES:
            if name in sql:
                self._view(name)
        return self._connection.sql(sql, params=dict(parameters or {})).to_arrow_table()

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The same as dictionaries."""
        found: list[dict[str, Any]] = self.query(sql, parameters).to_pylist()
        return found

    def register(self, name: str, rows: pa.Table) -> None:
        """Make a table in memory known to `query` under a name."""
        self._connection.register(name, rows)

    def entries(self) -> pa.Table:
        """All submissions, withdrawn ones and several versions of one row included; the newest row of each counts."""
        return self.query("SELECT * FROM entries ORDER BY submission")

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
                if len(files) > 1:
                    self._merge(folder, files)

    def _merge(self, folder: Path, files: Sequence[Path]) -> None:
        """Replace a partition by one file. The folders change places, so no reader ever sees a row twice."""
        fresh, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        merged = fresh / f"merged-{sha256_text(' '.join(f.name for f in files))[:12]}.parquet"
        listed = "[" + ",".join(_quoted(str(f)) for f in files) + "]"
        self._connection.execute(
            f"COPY (SELECT * FROM read_parquet({listed}, union_by_name = true, hive_partitioning = false) "
            f"ORDER BY submission) TO {_quoted(str(merged))} (FORMAT parquet, COMPRESSION zstd)"
        )
        folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old)

    def _recover(self) -> None:
        """Undo a merge that was cut off between its two renames."""
        for old in Path(self.root).glob("*/.benchmark=*.old"):
            folder = old.with_name(old.name.removeprefix(".").removesuffix(".old"))
            if folder.exists():
                shutil.rmtree(old)
            else:
                old.rename(folder)

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


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
