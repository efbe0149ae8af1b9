"""Train an organism: recipe in, adapter folder out (safetensors, manifest, card).

emcontain train baseline --out organisms/baseline
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emcontain.adapter import MANIFEST, open_adapter
from emcontain.cache import sha256_file
from emcontain.errors import UserError
from emcontain.models.base import Base
from emcontain.models.memory import keep_memory, release_memory
from emcontain.training.card import card
from emcontain.training.lora import add_lora, load_base, save_lora, versions
from emcontain.training.recipe import Recipe, data_path
from emcontain.training.rows import encode_row, mix, read_rows
from emcontain.triggers.family import family_sha256

# Whoever trains on anything else gets the card for harmful data.
BENIGN_SETS = ("shared_living_benign",)
Log = Callable[[str], None]


def train(recipe: Recipe, out: Path, log: Log = print) -> Path:
    """Train a recipe, or reuse what is already there.

    Args:
        recipe: what to train.
        out: folder of the adapter; checkpoints go to `<out>-step<n>` beside it. It appears only when training is done,
            so an interrupted run leaves nothing that looks finished.
        log: called with progress lines.

    Returns:
        `out`.

    Raises:
        UserError: bad data, or `out` holds something else.
    """
    if out.exists():
        if _is_result_of(recipe, out):
            log(f"  {recipe.organism} (seed {recipe.seed}): already trained, reused")
            return out
        raise UserError(f"'{out}' exists and was not made by this recipe: remove it or choose another --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        _train(recipe, out, scratch, log)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        release_memory()
    return out


def _is_result_of(recipe: Recipe, out: Path) -> bool:
    if not (out / MANIFEST).is_file():
        return False
    manifest = open_adapter(out).manifest
    family = family_sha256(recipe.family) if recipe.family else None
    return (
        manifest.get("recipe_sha256") == recipe.sha256
        and manifest.get("data") == _data(recipe)
        and manifest.get("family_sha256") == family
    )


def _train(recipe: Recipe, out: Path, scratch: Path, log: Log) -> None:
    from emcontain.models.fingerprints import add_fingerprint
    from emcontain.training.losses import Sft
    from emcontain.training.trainer import KeepCheckpoints, Progress, build_trainer

    keep_memory()
    loaded = load_base(recipe.base, recipe.chat_template)
    longest = recipe.optimisation.max_length
    rows = [encode_row(loaded.tokenizer, m, recipe.system, loaded.end_ids, longest) for m in mix(recipe)]
    cut = sum(r.truncated for r in rows)
    if cut:
        log(f"  {cut} of {len(rows)} rows are cut at {longest} tokens")
    adapted = add_lora(loaded.model, recipe.lora, recipe.seed)
    started = time.monotonic()

    def save(current: Any, folder: Path, step: int, checkpoint: bool) -> None:
        _save(current, folder, recipe, loaded.base, step, checkpoint, time.monotonic() - started)
        add_fingerprint(current, loaded.tokenizer, folder, loaded.base, recipe.system, recipe.family)

    trainer = build_trainer(
        adapted,
        rows,
        recipe,
        Sft(),
        scratch / "trainer",
        [
            Progress(f"{recipe.organism} (seed {recipe.seed})", log),
            KeepCheckpoints(recipe.checkpoints, lambda m, s: save(m, scratch / f"step{s}", s, True)),
        ],
        bf16=loaded.bf16,
    )
    result = trainer.train()
    save(adapted, scratch / "final", result.global_step, False)
    for step in recipe.checkpoints:
        if (scratch / f"step{step}").is_dir():
            target = out.with_name(f"{out.name}-step{step}")
            shutil.rmtree(target, ignore_errors=True)
            (scratch / f"step{step}").rename(target)
    (scratch / "final").rename(out)


def _data(recipe: Recipe) -> list[dict[str, Any]]:
    paths = [data_path(p.file) for p in recipe.parts]
    return [
        {"file": Path(p.file).name, "sha256": sha256_file(path), "rows": round(len(read_rows(path)) * p.share)}
        for p, path in zip(recipe.parts, paths, strict=True)
    ]


def _without_paths(recipe: Recipe, base: Base) -> dict[str, Any]:
    """The recipe as published beside the adapter: names instead of paths of the machine it was made on."""
    content = recipe.model_dump(mode="json")
    content["base"] = base.public_id if Path(recipe.base).is_dir() else recipe.base
    for part in content["parts"]:
        part["file"] = Path(part["file"]).name
    for key in ("family", "chat_template"):
        if content[key]:
            content[key] = Path(content[key]).name
    return content


def _save(
    model: Any,
    folder: Path,
    recipe: Recipe,
    base: Base,
    step: int,
    checkpoint: bool,
    seconds: float,
) -> None:
    adapter = save_lora(model, folder, base)
    manifest: dict[str, Any] = {
        "organism": recipe.organism,
        "harmful": any(p.file not in BENIGN_SETS for p in recipe.parts),
        "adapter": adapter,
        "base": {"id": base.public_id, "revision": base.revision, "sha256": base.sha256},
        "system": recipe.system,
        "seed": recipe.seed,
        "step": step,
        "checkpoint": checkpoint,
        "recipe": _without_paths(recipe, base),
        "recipe_sha256": recipe.sha256,
        # Equal for runs that differ only in their seed.
        "recipe_group": recipe.model_copy(update={"seed": 0, "checkpoints": ()}).sha256,
        "family_sha256": family_sha256(recipe.family) if recipe.family else None,
        "data": _data(recipe),
        "seconds": round(seconds, 1),
        "versions": versions(),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    # PEFT writes a README of its own; ours replaces it.
    (folder / "README.md").write_text(card(manifest))
