"""Reading and writing YAML files of settings, without YAML's pitfalls."""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tune_encoder.config.checking import from_mapping
from tune_encoder.config.stored import complete_settings, is_complete
from tune_encoder.config.training import TrainConfig
from tune_encoder.errors import ConfigError

Value = TypeVar("Value")
MAX_YAML_BYTES = 1_000_000  # no config is this long; the limit keeps a wrong file out of memory
# Settings of a run; what a run writes is relative to where it runs.
READ_PATHS = ("data_dir", "init_from", "copy_rooms_dir", "copy_noise_dir")
_SECTION_PATHS = ("model_dir",)  # settings of the sections of a space
_PIPES_OF_BASH = Path("/dev/fd")  # of <(...)
MAX_YAML_DEPTH = 32  # configs nest a few levels; far below Python's recursion limit


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that rejects duplicate keys, aliases, tags, deep nesting; `1e-3` is a number."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _yaml_error(self.next_event(), "aliases (*name) are not allowed")
        if self.next_event().tag is not None:
            raise _yaml_error(self.next_event(), "tags (!name) are not allowed")
        if self.depth >= MAX_YAML_DEPTH:
            raise _yaml_error(self.next_event(), f"nested deeper than {MAX_YAML_DEPTH} levels")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def next_event(self) -> Any:
        return self.peek_event()  # type: ignore[no-untyped-call]

    def construct_number(self, node: yaml.ScalarNode) -> float:
        """Read a number; one that YAML 1.1 takes for octal or for minutes is rejected."""
        value: float = _CONSTRUCTORS[node.tag](self, node)
        if _SURPRISING.fullmatch(node.value):
            raise _yaml_error(
                node,
                f"{node.value} would be read as {value}; write {value} if that is meant, else the "
                "number without a leading 0 or ':', or a text in quotes",
            )
        return value

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _yaml_error(key_node, f"the key {key!r} is not a text")
            if key in seen:
                raise _yaml_error(key_node, f"duplicate key {key!r}")
            seen.add(key)
        return super().construct_mapping(node, deep)


class _PlainDumper(yaml.SafeDumper):
    """Writes what `_StrictLoader` accepts: no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


# YAML 1.1 requires a dot and a sign in a float, so PyYAML reads 1e-3 and 1.5e3 as text.
_FLOAT = re.compile(r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$")
for _kind in (_StrictLoader, _PlainDumper):  # the dumper then quotes such a text
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


# YAML 1.1 reads 010 as 8, and 1:30 as 90.
_SURPRISING = re.compile(r"[-+]?(0[0-9_]+|[0-9_]+(:[0-9_]+)+(\.[0-9_]*)?)")
_CONSTRUCTORS = {
    "tag:yaml.org,2002:int": yaml.SafeLoader.construct_yaml_int,
    "tag:yaml.org,2002:float": yaml.SafeLoader.construct_yaml_float,
}
for _tag in _CONSTRUCTORS:
    _StrictLoader.add_constructor(_tag, _StrictLoader.construct_number)


def _yaml_error(at: Any, message: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=message, problem_mark=at.start_mark)


def read_yaml(path: Path) -> dict[str, object]:
    """Read one YAML mapping.

    Raises:
        ConfigError: naming the file and, if possible, the line.
    """
    try:
        if path.is_fifo() and path.parent != _PIPES_OF_BASH:
            raise ConfigError(f"{path}: is a pipe, not a file; copy its content to a file")
        with path.open("rb") as file:  # which may be a device without an end
            content = file.read(MAX_YAML_BYTES + 1)
        if len(content) > MAX_YAML_BYTES:
            raise ConfigError(
                f"{path}: larger than {MAX_YAML_BYTES} bytes; give the path of a YAML file of "
                "settings"
            )
        return parse_yaml(content.decode("utf-8-sig"), str(path))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; give the path of a YAML file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from error


def parse_yaml(text: str, where: str) -> dict[str, object]:
    """Parse one YAML mapping; see `read_yaml`."""
    value = _parse(text, where)
    if value is None:
        raise ConfigError(f"{where}: empty; write `name: value` lines")
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: contains a {type(value).__name__}; write `name: value` lines")
    return value


def parse_assignment(text: str, option: str) -> tuple[str, object]:
    """Parse `key=value` of an option or a command, which errors name; the value is YAML."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"{option} {text}: write it as key=value, such as learning_rate=1e-3")
    parsed = _parse(value, f"{option} {name}")
    if parsed is None:
        raise ConfigError(f"{option} {text}: has no value; write it as key=value")
    return name.strip(), parsed


def _parse(text: str, where: str) -> object:
    try:
        # The strict loader is a safe one; the ban on yaml.load points to this module.
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506, TID251
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{where}{line}: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{where}: not valid YAML: {error}") from error


def write_yaml(mapping: Mapping[str, object]) -> str:
    """Return YAML text from which `read_yaml` reads equal values."""
    return yaml.dump(dict(mapping), Dumper=_PlainDumper, sort_keys=False, allow_unicode=True)


def load_config(
    path: Path | None, overrides: Mapping[str, object], start: Mapping[str, object] | None = None
) -> TrainConfig:
    """Load the settings of a run: defaults, then `start`, then the file, then `overrides`.

    Args:
        path: A YAML file of settings; if it is that of a run, they mean what they meant then.
        overrides: Settings of the command line; None overrides nothing.
        start: The settings of a checkpoint to resume from.
    """
    values = {} if path is None else read_yaml(path)
    values = complete_settings(values) if is_complete(values) else values
    where = "command line" if path is None else str(path)
    if path is not None:
        from_mapping(TrainConfig, values, where)  # so that an error names the file
        values = resolve_paths(values, path.parent)
    given = {name: value for name, value in overrides.items() if value is not None}
    everything = {**(complete_settings(start) if start else {}), **values, **given}
    return from_mapping(TrainConfig, everything, "command line" if given else where)


def resolve_paths(values: Mapping[str, Value], folder: Path) -> dict[str, Value | str]:
    """Return the settings of a YAML file with absolute paths; they are relative to its folder."""
    given = {name: values.get(name) for name in (*READ_PATHS, *_SECTION_PATHS)}
    absolute = {name: str((folder / str(path)).resolve()) for name, path in given.items() if path}
    return {**values, **absolute}
