"""Reading a search space, and converting it back to plain values."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from tune_encoder.config import (
    NETWORK,
    SECTIONS,
    SettingValue,
    from_mapping,
    network_settings,
    read_yaml,
    resolve_paths,
    to_mapping,
    unknown_name_message,
)
from tune_encoder.errors import ConfigError
from tune_encoder.space.consistency import check_consistency, check_new_space, fit_to_budget
from tune_encoder.space.constraints import read_constraints
from tune_encoder.space.parameters import read_parameters, read_setting
from tune_encoder.space.space import Parameter, SearchSpace, SpaceContent

_ALL_SECTIONS = (*SECTIONS, "base", "space", "start", "constraints")


def load_space(path: Path) -> SearchSpace:
    """Read a search space and check it completely.

    Raises:
        ConfigError: naming the file, the key, and what is allowed.
    """
    space = new_space(read_yaml(path), str(path), path.parent)
    return dataclasses.replace(space, name=path.stem)


def new_space(content: Mapping[str, object], where: str, folder: Path) -> SearchSpace:
    """Parse and completely check a space, given as plain values, for a new search."""
    space = parse_space(content, where, folder)
    check_new_space(space, where)
    return space


def parse_space(content: Mapping[str, object], where: str, folder: Path) -> SearchSpace:
    """Parse and completely check a space given as plain values; see `load_space`."""
    space = _adopt_network(read_space(content, where, folder))
    check_consistency(space, where)
    return space


def _adopt_network(space: SearchSpace) -> SearchSpace:
    """Return the space with the network of its initial model, where base does not give it."""
    model = space.base.get("init_from")
    searched = {parameter.name for parameter in space.parameters}
    missing = [name for name in NETWORK if name not in (*space.base, *searched)]
    if not model or not missing:
        return space
    network = network_settings(Path(str(model)))
    base = {**space.base, **{name: network[name] for name in missing}}
    return dataclasses.replace(space, base=base)


def read_space(content: object, where: str, folder: Path) -> SearchSpace:
    """Parse a space: each value is checked, but not whether they fit together.

    Enough for spaces that this program wrote. `parse_space` adds the other check, which samples 200
    configs and takes many times as long.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where}: is {content!r}; write `name: value` lines under it")
    content = {**content, "budget": _fit_trials(_mapping(content, "budget", where))}
    for name in content:
        if name not in _ALL_SECTIONS:
            raise ConfigError(f"{where}: {unknown_name_message(name, _ALL_SECTIONS, 'section')}")
    sections: dict[str, Any] = {
        name: _section(kind, _mapping(content, name, where), f"{where}, {name}", folder)
        for name, kind in SECTIONS.items()
    }
    base = _base(_mapping(content, "base", where), f"{where}, base", folder)
    parameters = read_parameters(_mapping(content, "space", where), where)
    start = _start_configs(content.get("start") or [], parameters, f"{where}, start")
    limits = _mapping(content, "constraints", where)
    constraints = read_constraints(limits, f"{where}, constraints")
    return SearchSpace(
        **sections, base=base, parameters=parameters, start=start, constraints=constraints
    )


def override_space(
    space: SearchSpace, changes: Mapping[str, Mapping[str, object]], where: str
) -> SearchSpace:
    """Return the space with these values in its sections; None changes nothing."""
    fitted = _fit_scheduler(space, changes.get("budget", {}).get("epochs"))
    content: dict[str, object] = {**space_to_content(fitted)}
    for section, values in changes.items():
        given = {name: value for name, value in values.items() if value is not None}
        before = content[section]
        assert isinstance(before, dict)
        if section == "budget" and not before["total_epochs"]:
            given = {**_fit_trials(given)}
        content[section] = {**before, **given}
    return dataclasses.replace(parse_space(content, where, Path()), name=space.name)


def _fit_trials(budget: Mapping[str, object]) -> Mapping[str, object]:
    """Let the number of trials, if it is not given, follow from the number of all epochs."""
    return {"trials": 0, **budget} if budget.get("total_epochs") else budget


def _fit_scheduler(space: SearchSpace, epochs: object) -> SearchSpace:
    """Fit the scheduler to the new number of epochs, which may be lower than the file's."""
    if not isinstance(epochs, int) or epochs < 1:
        return space
    return dataclasses.replace(space, scheduler=fit_to_budget(space.scheduler, epochs))


def space_to_content(space: SearchSpace) -> SpaceContent:
    """Return plain values from which `parse_space` makes an equal space."""
    content = {
        **{name: to_mapping(getattr(space, name)) for name in SECTIONS},
        "base": space.base,
        "space": {parameter.name: _parameter_content(parameter) for parameter in space.parameters},
        "start": space.start,
        "constraints": {each.name: each.content() for each in space.constraints},
    }
    return cast("SpaceContent", content)


def _parameter_content(parameter: Parameter) -> dict[str, object]:
    content: dict[str, object] = {parameter.kind: list(parameter.values)}
    if parameter.log:
        content["log"] = True
    if parameter.step is not None:
        content["step"] = parameter.step
    if parameter.when:
        content["when"] = {name: list(values) for name, values in parameter.when.items()}
    return content


def _mapping(content: Mapping[str, object], name: str, where: str) -> Mapping[str, object]:
    value = content.get(name) or {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: {name} is {value!r}; write `name: value` lines under it")
    return value


def _section(kind: type[Any], content: Mapping[str, object], where: str, folder: Path) -> Any:
    from_mapping(kind, content, where)  # so that an error shows a path as it was written
    return from_mapping(kind, resolve_paths(content, folder), where)


def _base(base: Mapping[str, object], where: str, folder: Path) -> dict[str, SettingValue]:
    if "epochs" in base:
        raise ConfigError(f"{where}: epochs is set here; set budget.epochs instead")
    checked = {name: read_setting(name, value, where) for name, value in base.items()}
    return resolve_paths(checked, folder)


def _start_configs(
    configs: object, parameters: list[Parameter], where: str
) -> list[dict[str, SettingValue]]:
    if not isinstance(configs, list) or not all(isinstance(each, Mapping) for each in configs):
        raise ConfigError(f"{where}: write a list of configs, each `- {{setting: value}}`")
    known = {parameter.name: parameter for parameter in parameters}
    return [_start_config(config, known, where) for config in configs]


def _start_config(
    config: Mapping[str, object], known: Mapping[str, Parameter], where: str
) -> dict[str, SettingValue]:
    checked = {}
    for name, value in config.items():
        if name not in known:
            raise ConfigError(f"{where}: {unknown_name_message(name, known)}")
        checked[name] = read_setting(name, value, where)
        if not known[name].contains(checked[name]):
            step = "" if known[name].step is None else f" in steps of {known[name].step}"
            raise ConfigError(
                f"{where}: {name} is {value!r}, outside its range {list(known[name].values)}{step}"
            )
    return checked
