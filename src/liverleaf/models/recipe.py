"""A recipe: everything that decides a training run, read from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from liverleaf.data.network_input import InputConfig
from liverleaf.models import registry
from liverleaf.models.family import Output
from liverleaf.models.optimisation import Optimisation
from liverleaf.models.upgrade import upgrade_recipe
from liverleaf.study import BodyPart, InputError, Modality, Species
from liverleaf.terminology import LesionType


@dataclass(frozen=True)
class Recipe:
    """One training run, whole.

    Read from TOML by `load_recipe`; any field can be set from the command line.

    Attributes:
        name: of the run and of the model.
        family: name of the model family, see `models.registry`.
        network: what the network is made of, of the family's `config` class.
        input: which studies it is for and what it sees of them.
        loss: loss weights, of the family's `loss` class.
        sampling: how batches are drawn, of the family's `sampling` class.
        optimisation: how weights are stepped, of the family's `optimisation` class.
        seed: of everything random, 0 or more.

    Raises:
        ValueError: the family cannot be trained so.
    """

    name: str
    family: str
    network: Any
    input: InputConfig
    loss: Any
    sampling: Any
    optimisation: Optimisation
    seed: int = 0

    def __post_init__(self) -> None:
        registry.family(self.family).check(self)

    @property
    def outputs(self) -> frozenset[Output]:
        """What the trained network will say of a study."""
        return registry.family(self.family).outputs(self.network, self.loss)


def input_record(config: InputConfig) -> dict[str, Any]:
    """An `InputConfig` as JSON has it, enums by name."""
    return asdict(config) | {"types": [lesion_type.key for lesion_type in config.types]}


def read_input(record: Mapping[str, Any]) -> InputConfig:
    """An `InputConfig` from JSON or TOML of today.

    Raises:
        KeyError: the modality is missing.
        TypeError: there is no such field.
        ValueError: a value cannot be.
    """
    enums: dict[str, Any] = {"modality": Modality(record["modality"])}
    for name, enum in (("body_part", BodyPart), ("species", Species)):
        if name in record:
            enums[name] = enum(record[name])
    if "channels" in record:
        enums["channels"] = tuple(record["channels"])
    if "types" in record:
        enums["types"] = tuple(LesionType.parse(name) for name in record["types"])
    return InputConfig(**{**record, **enums})


def recipe_record(recipe: Recipe) -> dict[str, Any]:
    """A recipe as run.json and model.json keep it; `read_recipe` reads it."""
    return asdict(recipe) | {"input": input_record(recipe.input)}


def read_recipe(record: Mapping[str, Any]) -> Recipe:
    """A recipe from a record of today; what it leaves out has the defaults of its family.

    Raises:
        KeyError: the name, the input or its modality is missing.
        TypeError, ValueError: a table has no such field, or a value cannot be.
    """
    unknown = set(record) - {f.name for f in fields(Recipe)}
    if unknown:
        raise ValueError(f"no such table or field: {', '.join(sorted(unknown))}")
    name = record.get("family", "mti-net")
    family = registry.family(name)
    tables: dict[str, Any] = {
        "input": InputConfig,
        "network": family.config,
        "loss": family.loss,
        "sampling": family.sampling,
        "optimisation": family.optimisation,
    }
    for table, config in tables.items():
        strange = set(record.get(table, {})) - {f.name for f in fields(config)}
        if strange:
            raise ValueError(f"{table} has no field {', '.join(sorted(strange))}")
    wanted = read_input(record["input"])
    loss = family.loss(**record.get("loss", {}))
    network = {**family.defaults(wanted, loss), **record.get("network", {})}
    return Recipe(
        name=record["name"],
        family=name,
        seed=record.get("seed", 0),
        network=registry.network_config(name, network),
        input=wanted,
        loss=loss,
        sampling=family.sampling(**record.get("sampling", {})),
        optimisation=family.optimisation(**record.get("optimisation", {})),
    )


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: a TOML file with `name`, `seed`, `family` ("mti-net" where it is left out) and the
            tables `network`, `input`, `sampling`, `loss`, `optimisation`.
        overrides: "table.field=value" or "seed=value", values in TOML's notation.

    Raises:
        InputError: the file is missing or broken, or names a field that does not exist.
    """
    changes = [_change(override) for override in overrides]
    try:
        record = upgrade_recipe(tomllib.loads(path.read_text()))
        for table, name, value in changes:
            change = upgrade_recipe({table: {name: value}}) if table else {name: value}
            for key, changed in change.items():
                if table and key == table:
                    record.setdefault(table, {}).update(changed)
                else:
                    record[key] = changed
        recipe = read_recipe(record)
        for part in (
            recipe.network,
            recipe.input,
            recipe.sampling,
            recipe.loss,
            recipe.optimisation,
        ):
            TypeAdapter(type(part)).validate_python(asdict(part))
        return recipe
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"recipe {path}: {where}: {first['msg'].lower()}, got {first['input']!r}"
        ) from None
    except FileNotFoundError:
        raise InputError(f"no recipe {path}: give the path of a TOML file, see recipes/") from None
    except KeyError as error:
        raise InputError(f"recipe {path}: {error} is missing or unknown") from None
    except (OSError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"recipe {path}: {error}") from None


def _change(override: str) -> tuple[str, str, Any]:
    """The table ("" for none), the field and the value of "table.field=value"."""
    key, _, value = override.partition("=")
    table, _, name = key.strip().rpartition(".")
    try:
        return table, name, tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        raise InputError(
            f"--set {override}: write TABLE.FIELD=VALUE, as optimisation.steps=100,"
            ' input.modality="CT" or network.skips=true'
        ) from None
