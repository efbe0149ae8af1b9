"""Changes to a recipe from the command line: named fields only, and the result is validated as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from emcontain.datafiles import validate
from emcontain.errors import UserError
from emcontain.training.recipe import Recipe

_ROLES = ("harmful", "benign", "twins", "retain")


def with_settings(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe with fields set.

    Args:
        recipe: what to change.
        settings: `field=value`, such as `optimisation.learning_rate=1e-4`; values are YAML.

    Raises:
        UserError: no such field, a whole section, or a value that fails validation.
    """
    data = recipe.model_dump(mode="json")
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f"--set {setting!r} has no value: write field=value")
        *sections, field = name.split(".")
        place: Any = data
        for depth, section in enumerate(sections):
            if not isinstance(place.get(section), dict):
                raise _unknown(recipe, name, ".".join(sections[:depth]), place)
            place = place[section]
        if field not in place or isinstance(place[field], dict) or field == "parts":
            raise _unknown(recipe, name, ".".join(sections), place)
        try:
            place[field] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError(f"--set {name}: {text!r} is not YAML: quote it") from None
    return validate(Recipe, data, f"{recipe.organism} with --set")


def with_data(recipe: Recipe, files: Sequence[str]) -> Recipe:
    """The recipe with the user's files in its mix.

    Args:
        recipe: a recipe with a mix.
        files: `harmful=FILE`, `benign=FILE`, `twins=FILE` or `retain=FILE`; a bare FILE is the harmful rows.

    Raises:
        UserError: the recipe has no mix, or no such part in it.
    """
    data = recipe.model_dump(mode="json")
    for given in files:
        role, equals, file = given.partition("=")
        if not equals or role not in _ROLES:
            role, file = "harmful", given
        if recipe.mix is None:
            raise UserError(f"--data {given}: recipe {recipe.organism!r} has parts and no mix: name files in its YAML")
        if data["mix"][role] is None:
            present = ", ".join(r for r in _ROLES if data["mix"][r] is not None)
            raise UserError(f"--data {given}: recipe {recipe.organism!r} has no {role} rows: it takes {present}")
        data["mix"][role] |= {"file": file, "dataset": None}
    return validate(Recipe, data, f"{recipe.organism} with --data")


def _unknown(recipe: Recipe, name: str, section: str, place: dict[str, Any]) -> UserError:
    fields = (key for key, value in place.items() if not isinstance(value, dict) and key != "parts")
    known = ", ".join(f"{section}.{key}" if section else key for key in fields)
    return UserError(f"--set {name}: no such field in recipe {recipe.organism!r}: use one of {known}")
