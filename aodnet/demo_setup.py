"""What both tabs of the demo's page share: what they stand on, uploads as files, errors that visitors are told of."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported, and at each start

import gradio as gr

from aodnet.demo_dehaze import Network
from aodnet.demo_gate import MOST_FILES
from aodnet.demo_uploads import Rgb, drop_oldest
from hazegen import engine
from hazegen.errors import HazegenError

Log = Callable[[dict[str, Rgb], dict[str, float]], str]


@dataclass(frozen=True)
class Setup:
    """What the page stands on.

    Attributes:
        networks: By the names that visitors choose among; the first is chosen at the start.
        workplace: Folder of this run alone: its cache, its scenes, its results.
        most_pixels: Of an uploaded picture or depth map.
        most_upload: Bytes of an uploaded file.
        log: Logs pictures and numbers at W&B and says where; None where nothing is logged.
        own: Files of the cache that are the page's own, which stay.
    """

    networks: dict[str, Network]
    workplace: Path
    most_pixels: int
    most_upload: int
    log: Log | None = None
    own: set[Path] = field(default_factory=set)

    @property
    def cache(self) -> Path:
        """The one folder that files are served from."""
        return self.workplace / "cache"

    @property
    def scratch(self) -> Path:
        """Folder of scenes and results."""
        return self.workplace / "scratch"


def timing(preview_s: float, whole_s: float, width: int, height: int) -> str:
    return (
        f"{width} x {height} pixels. Preview after {preview_s:.2f} s, the whole picture in {whole_s:.2f} s more, "
        f"on {engine.cores()} cores."
    )


def picture_field(label: str, setup: Setup) -> gr.Image:
    """A picture to upload, which reaches our functions as its file: nothing decodes it before its header was read."""
    limits = f"at most {setup.most_pixels / 1e6:g} megapixels, {setup.most_upload / 1e6:g} MB"
    picture = gr.Image(
        label=label, type="filepath", sources=["upload", "clipboard"], height=260, buttons=["fullscreen"],
        elem_id=label.lower().replace(" ", "-"), placeholder=f"Drop a picture here, or click\n{limits}",
    )  # fmt: skip
    takes_paths(picture)
    return picture


def takes_paths(component: Any) -> None:
    component.preprocess = lambda payload: None if payload is None else _in_use(Path(payload.path))


def _in_use(path: Path) -> Path:
    """The path of a file that is used now: the oldest are deleted first."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(path)
    return path


@contextlib.contextmanager
def told_to_the_visitor() -> Iterator[None]:
    """Shows the errors that a visitor can cause, and can do something about."""
    try:
        yield
    except HazegenError as error:
        # The page has a field where the commands have this option.
        text = str(error).replace("--depth-scale", "'Depth scale'")
        raise gr.Error(text, duration=30, print_exception=False) from None


@contextlib.contextmanager
def folder_of(setup: Setup) -> Iterator[Path]:
    """A folder for the results of one request; what is shown of them has been copied to the cache by its end."""
    drop_oldest(setup.cache, setup.own, MOST_FILES // 2 * setup.most_upload)  # so that uploads find room
    with tempfile.TemporaryDirectory(dir=setup.scratch) as folder:
        yield Path(folder)
