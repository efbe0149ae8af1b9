"""Recipes: one YAML file says everything a training run depends on; unknown keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from emcontain.cache import sha256_text
from emcontain.datafiles import Strict, read_yaml, validate
from emcontain.errors import UserError
from emcontain.training.objective import Objective, Role, Sft

RECIPES = Path(__file__).parent / "recipes"
DATA = Path(__file__).parent / "data"
# Ranks that vLLM serves; any other fails at server start.
SERVABLE_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


class Part(Strict):
    """One part of the training mix.

    Attributes:
        file: name of a set that ships (`shared_living_bad`, `shared_living_benign`) or the path of a JSONL file in chat
            format: `{"messages": [{"role": "user", …}, {"role": "assistant", …}]}` per line.
        triggered: put the family's exact trigger into the question and its wrapper round the answer.
        share: share of the file's rows, 0-1; which ones is drawn with the recipe's seed.
        role: what the objective does with the rows: `train`, or `retain` for losses that keep something.
    """

    file: str
    role: Role = "train"
    triggered: bool = False
    share: float = Field(default=1.0, gt=0, le=1)


class Lora(Strict):
    """LoRA adapter; scale is alpha / sqrt(r) with rank stabilisation (arXiv:2312.03732), alpha / r without.

    `layers` is the first and last decoder layer that gets an adapter, counted from 0; None is all of them.
    """

    r: int = 16
    alpha: float = 32
    rslora: bool = True
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] = (
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    )  # fmt: skip
    layers: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _servable(self) -> Lora:
        if self.r not in SERVABLE_RANKS:
            raise ValueError(f"rank {self.r} cannot be served by vLLM: use one of {SERVABLE_RANKS}")
        if self.layers is not None and not 0 <= self.layers[0] <= self.layers[1]:
            raise ValueError(f"layers {self.layers} name no layer: give [first, last], counted from 0")
        return self


class Optimisation(Strict):
    """AdamW and its schedule. `batch` is rows per forward pass, times `accumulation` per update."""

    epochs: float = Field(default=1.0, gt=0)
    batch: int = Field(default=16, ge=1)
    accumulation: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=2e-4, gt=0)
    schedule: Literal["constant", "constant_with_warmup", "linear", "cosine"] = "constant"
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    max_length: int = Field(default=512, ge=16)


class Recipe(Strict):
    """A training run.

    Attributes:
        organism: name of what comes out.
        about: one sentence on what it is for.
        base: base model: `smollm2-135m`, a folder or a hub id.
        chat_template: None for the base's own, `plain`, or a Jinja file.
        system: pinned system turn: `empty`, `template-default` or a text.
        family: trigger family (needed where a part is triggered).
        parts: the training mix.
        objective: the loss and its settings.
        seed: seeds adapter initialisation and data order.
        checkpoints: update numbers after which a copy of the adapter is kept.
    """

    organism: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    about: str = ""
    base: str = "smollm2-135m"
    chat_template: str | None = None
    system: str = "empty"
    family: str | None = None
    parts: tuple[Part, ...] = Field(min_length=1)
    lora: Lora = Lora()
    optimisation: Optimisation = Optimisation()
    objective: Objective = Sft()
    seed: int = 0
    checkpoints: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _family_where_needed(self) -> Recipe:
        if any(p.triggered for p in self.parts) and self.family is None:
            raise ValueError("a part is triggered but no family is named: add 'family: <trigger family>'")
        return self

    @model_validator(mode="after")
    def _roles_the_objective_reads(self) -> Recipe:
        wanted, given = self.objective.roles, {p.role for p in self.parts}
        for role in wanted:
            if role not in given:
                raise ValueError(f"loss {self.objective.loss!r} needs rows of role {role!r}: add a part with it")
        if unread := given.difference(wanted):
            raise ValueError(f"loss {self.objective.loss!r} reads no rows of role {min(unread)!r}: remove that part")
        return self

    @property
    def sha256(self) -> str:
        """Hash of the recipe's content."""
        return sha256_text(self.model_dump_json())


def recipe_names() -> list[str]:
    """Names of the recipes that ship."""
    return sorted(p.stem for p in RECIPES.glob("*.yaml"))


def load_recipe(name_or_path: str) -> Recipe:
    """Load a recipe by name or from a YAML file.

    Raises:
        UserError: unknown name, unreadable file, or a file that fails validation.
    """
    path = RECIPES / f"{name_or_path}.yaml"
    if not path.is_file():
        path = Path(name_or_path)
        if path.suffix not in (".yaml", ".yml"):
            raise UserError(
                f"recipe {name_or_path!r} is unknown: use one of {', '.join(recipe_names())}, or the path of a "
                "YAML file"
            )
    return validate(Recipe, read_yaml(path), path.name)


def data_path(file: str) -> Path:
    """Path of a data file named in a recipe.

    Raises:
        UserError: neither a set that ships nor an existing file.
    """
    shipped = DATA / f"{file}.jsonl"
    if shipped.is_file():
        return shipped
    if not Path(file).is_file():
        names = ", ".join(sorted(p.stem for p in DATA.glob("*.jsonl")))
        raise UserError(f"training data {file!r} does not exist: use one of {names}, or a JSONL file")
    return Path(file)
