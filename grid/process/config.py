"""One TOML file per process, checked before anything starts.

Unknown keys are refused. ``NEGAWATT_<SECTION>_<KEY>`` in the environment overrides ``[section] key``; secrets are
never values but paths (``*_file``). Relative paths are relative to the file that names them.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo

from grid.errors import ConfigError

ENV_PREFIX = "NEGAWATT_"


class Settings(BaseModel):
    """Base of every configuration section."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _resolve(value: Any, info: ValidationInfo) -> Any:
    folder = (info.context or {}).get("folder")
    if isinstance(value, str | Path) and folder is not None:
        return Path(folder) / value
    return value


FilePath = Annotated[Path, BeforeValidator(_resolve)]
"""A path, relative to the configuration file's folder."""

S = TypeVar("S", bound=Settings)


def load(path: Path, model: type[S], environ: Mapping[str, str] = os.environ) -> S:
    """Read and check a configuration file. Raises ConfigError naming the key and what to do."""
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration file {path}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is not readable as TOML: {error}") from error
    _override(raw, model, environ)
    try:
        return model.model_validate(raw, context={"folder": path.parent})
    except ValidationError as error:
        raise ConfigError(_explain(path, error)) from error


def _override(raw: dict[str, Any], model: type[Settings], environ: Mapping[str, str]) -> None:
    for section, field in model.model_fields.items():
        inner = field.annotation
        if not (isinstance(inner, type) and issubclass(inner, Settings)):
            continue
        for key in inner.model_fields:
            value = environ.get(f"{ENV_PREFIX}{section.upper()}_{key.upper()}")
            if value is not None:
                raw.setdefault(section, {})[key] = _scalar(value)


def _scalar(text: str) -> Any:
    """A number, boolean or list where the text is one in JSON; the text itself otherwise."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _explain(path: Path, error: ValidationError) -> str:
    first, *others = error.errors(include_url=False)
    key = ".".join(str(part) for part in first["loc"])
    what = "unknown key: remove it or correct its spelling" if first["type"] == "extra_forbidden" else first["msg"]
    more = f" (and {len(others)} more)" if others else ""
    return f"{path}: {key}: {what}{more}"
