"""What a console keeps for the next one: the theme, the filters used and saved, and how the stream shows its commands."""

from pathlib import Path

from msgspec import MsgspecError, Struct, json

from agent_core.files import write_whole
from agent_core.filters import parse
from console.panels.sorting import Sort

FILE_NAME = "console.json"
MAX_BYTES = 100_000


class State(Struct, frozen=True):
    """As a JSON object; what a later version added is left out."""

    theme: str = "edge-dark"
    filters: tuple[str, ...] = ()
    """Used before, newest last."""
    saved: dict[str, str] = {}
    """Filters by the name that they were given."""
    newest_first: bool = False
    ages: bool = False
    sort: Sort | None = None
    hidden: tuple[str, ...] = ()
    """Columns that shall not be there."""
    zoomed: bool = False
    beside: bool = False
    """The selected command's record stands beside the stream."""


class BrokenState(Exception):
    """What stood there is no state; it has been set aside. The sentence says where."""


def load(data_dir: Path) -> State:
    """What was kept, or the defaults. Raises BrokenState and OSError."""
    path = data_dir / FILE_NAME
    try:
        with path.open("rb") as file:
            return json.decode(file.read(MAX_BYTES), type=State)
    except FileNotFoundError:
        return State()
    except (MsgspecError, RecursionError, UnicodeDecodeError):
        aside = path.with_suffix(".broken.json")
        path.replace(aside)
        raise BrokenState(f"{path.name} could not be read: the console begins anew; what was there is now {aside.name}") from None


def filter_named(data_dir: Path, text: str) -> str:
    """The filter that was saved by that name, else the text as one. Raises FilterError."""
    try:
        saved = json.decode((data_dir / FILE_NAME).read_bytes()[:MAX_BYTES], type=State).saved
    except (OSError, MsgspecError, RecursionError, UnicodeDecodeError):
        saved = {}
    wanted = saved.get(text, text)
    parse(wanted)
    return wanted


def save(data_dir: Path, state: State) -> None:
    """Whole or not at all. Raises OSError."""
    write_whole(data_dir / FILE_NAME, json.format(json.encode(state)) + b"\n")
