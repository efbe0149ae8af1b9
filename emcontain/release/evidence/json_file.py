"""`verdict.json` and its schema: the source of all other evidence."""

from __future__ import annotations

import json
from typing import Any

from emcontain.release.records import Verdict


def verdict_json(verdict: Verdict) -> str:
    """The verdict as JSON; null for what there is not."""
    return json.dumps(verdict.model_dump(mode="json"), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of `verdict.json`."""
    found = Verdict.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}
