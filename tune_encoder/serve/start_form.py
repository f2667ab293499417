"""What a new search is made of, as a person fills it in, and what that says to the command line."""

from dataclasses import dataclass
from pathlib import Path

from nicegui import ui

from tune_encoder.errors import ConfigError
from tune_encoder.experiment.folder import check_name_free
from tune_encoder.serve.config_form import hinted
from tune_encoder.serve.numbers import whole_numbers
from tune_encoder.space import SearchSpace, builtin_spaces, space_summary

FILE = "a file"
EXPORTS, NO_EXPORT = "export the best model at the end", "--no-export"
OF_SPACE, FOLDER = "of the space, else the demo voices", "a folder"
_BUDGET = ("trials", "epochs", "total_epochs")


@dataclass(frozen=True)
class Wish:
    """A search that somebody wants."""

    space: str
    """The name of a built-in space, or the path of a file."""
    data_dir: str
    """Empty: that of the space, else the demo voices."""
    name: str
    budget: dict[str, int]
    exports: bool = True
    """Whether it exports the best model when it ends."""

    def words(self, root: Path) -> list[str]:
        """Return what follows `tune-encoder search` or `submit`."""
        flags = {"space": self.space, "data-dir": self.data_dir, "name": self.name, "root": root}
        flags |= {name.replace("_", "-"): value for name, value in self.budget.items()}
        words = [f"--{name}={value}" for name, value in flags.items() if value != ""]
        return words if self.exports else [*words, NO_EXPORT]

    def resolve(self, root: Path) -> SearchSpace:
        """Return the space with the budget, as the search will have it.

        Raises:
            ConfigError: if the space, the budget, the name or the data is not possible.
        """
        from tune_encoder.api.searching import resolve_space

        space = resolve_space(self.space, self.budget, "command line")
        check_name_free(root, self.name)
        if self.data_dir and not Path(self.data_dir).is_dir():
            raise ConfigError(f"{self.data_dir}: no such folder; give the path of a data set")
        return space


class StartForm:
    """The fields of a new search."""

    def __init__(self, name: str) -> None:
        """Lay them out.

        Args:
            name: A name that is free.
        """
        spaces = {
            each: f"{each}: {space_summary(path).partition(': ')[2]}"
            for each, path in builtin_spaces().items()
        }
        with ui.element("div").classes("fields form"):
            self.space = ui.select({**spaces, FILE: FILE}, label="search space", value="quick")
            hinted(self.space.props("options-dense"), "what is searched, and with which budget")
            self.file = hinted(ui.input("path of the space"), "a YAML file on this machine")
            self.data = ui.select([OF_SPACE, FOLDER], label="data", value=OF_SPACE)
            hinted(self.data, "train, val and test are within")
            self.folder = hinted(ui.input("path of the data"), "a folder on this machine")
            self.name = hinted(ui.input("name", value=name), "letters, digits, '.', '_' and '-'")
            self.budget = {
                each: hinted(
                    ui.input(each.replace("_", " ")).props("inputmode=numeric"),
                    "empty: as in the space",
                )
                for each in _BUDGET
            }
        self.exports = ui.checkbox(EXPORTS, value=True)
        self.file.bind_visibility_from(self.space, "value", value=FILE)
        self.folder.bind_visibility_from(self.data, "value", value=FOLDER)

    def wish(self) -> Wish:
        """Return what is filled in.

        Raises:
            ConfigError: if something is missing.
        """
        is_file, is_folder = self.space.value == FILE, self.data.value == FOLDER
        space = str(self.space.value)
        if is_file:
            space = _expanded(_given(self.file, "the path of the space"))
        data_dir = _expanded(_given(self.folder, "the path of the data")) if is_folder else ""
        budget = whole_numbers({name: box.value for name, box in self.budget.items()})
        name = _given(self.name, "the name")
        return Wish(space, data_dir, name, budget, self.exports.value)


def _given(box: ui.input, what: str) -> str:
    if not (words := (box.value or "").strip()):
        raise ConfigError(f"{what} is missing; write it")
    return words


def _expanded(path: str) -> str:
    """Return a path in which `~` is the home folder, as in a shell."""
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError:  # of a user who is not known
        return path
