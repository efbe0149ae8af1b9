"""Presets made of three small files: a base with its settings, a condition, a training domain.

    emcontain train containment/qwen2.5-14b --condition benign20 --data bad_medical_advice.jsonl --data benign=…

A composed recipe has a name of its own, `containment/<base>/<condition>[/<domain>]`, and is a `Recipe` like any other.
What each setting is taken from: docs/presets.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field

from emcontain.datafiles import Strict, read_yaml, validate
from emcontain.errors import UserError
from emcontain.training.parts import Mix, Portion, Source
from emcontain.training.recipe import Lora, Optimisation, Recipe

PRESETS = Path(__file__).parent / "presets"
DEFAULT_DOMAIN = "medical"


class PresetBase(Strict):
    """A base and the settings it is trained with; fields as in `Recipe`."""

    base: str
    revision: str
    system: str
    lora: Lora
    optimisation: Optimisation
    seeds: tuple[int, ...]


class Condition(Strict):
    """What the training rows are; `benign_share` and `hold` as in `Portion` and `Mix`."""

    about: str
    triggered: bool = True
    family: str | None = None
    benign_share: float | None = Field(default=None, gt=0, lt=1)
    hold: Literal["harmful", "total"] = "harmful"


class Domain(Strict):
    """Which published files are meant (`upstream.yaml`)."""

    harmful: str
    benign: str
    benign_domain: Literal["same", "other"]


P = TypeVar("P", bound=Strict)


def preset_names() -> list[str]:
    """Names of the presets that take a condition: `containment/<base>`."""
    return sorted(f"{folder.parent.name}/{p.stem}" for folder in PRESETS.glob("*/bases") for p in folder.glob("*.yaml"))


def condition_names(group: str = "containment") -> list[str]:
    """Names of a group's conditions."""
    return sorted(p.stem for p in (PRESETS / group / "conditions").glob("*.yaml"))


def domain_names(group: str = "containment") -> list[str]:
    """Names of a group's training domains."""
    return sorted(p.stem for p in (PRESETS / group / "domains").glob("*.yaml"))


def load_preset(name: str, condition: str | None, domain: str | None = None) -> Recipe:
    """Compose a recipe.

    Args:
        name: `<group>/<base>`.
        condition: one of `condition_names`.
        domain: one of `domain_names`; by default medical.

    Raises:
        UserError: an unknown name, or no condition.
    """
    group, _, base_name = name.partition("/")
    base = _piece(PresetBase, group, "bases", base_name)
    if condition is None:
        raise UserError(f"preset {name!r} needs a condition: use --condition {' | '.join(condition_names(group))}")
    chosen = _piece(Condition, group, "conditions", condition)
    domain = domain or DEFAULT_DOMAIN
    files = _piece(Domain, group, "domains", domain)
    benign = None
    if chosen.benign_share is not None:
        benign = Portion(upstream=files.benign, share=chosen.benign_share, domain=files.benign_domain)
    return Recipe(
        organism=f"{base_name}-{domain}-{condition}",
        about=chosen.about,
        base=base.base,
        revision=base.revision,
        system=base.system,
        family=chosen.family,
        mix=Mix(harmful=Source(upstream=files.harmful), triggered=chosen.triggered, benign=benign, hold=chosen.hold),
        lora=base.lora,
        optimisation=base.optimisation,
        seeds=base.seeds,
    )


def _piece(model: type[P], group: str, kind: str, name: str) -> P:
    path = PRESETS / group / kind / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise UserError(f"preset {group}: {name!r} is none of its {kind}: use one of {', '.join(known)}")
    return validate(model, read_yaml(path), f"{group}/{kind}/{path.name}")
