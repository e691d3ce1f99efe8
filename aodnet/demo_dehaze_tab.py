"""The tab of the demo's page on which haze is removed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from aodnet import demo_dehaze, demo_haze, demo_recipe
from aodnet.demo_dehaze import Network, Preview
from aodnet.demo_setup import Setup, folder_of, picture_field, timing, told_to_the_visitor
from aodnet.demo_uploads import FULLSCREEN_PX, check_picture, on_screen, read_for_screen, write_shown
from hazegen import images

K_LABEL = "K"
# Procedural scenes and presets of the hazy pictures that are offered.
EXAMPLES = ((14, "fog, 150 m"), (7, "drifting fog, 80 m"), (13, "dust, 120 m"))


def dehaze_tab(setup: Setup) -> gr.Image:
    names = list(setup.networks)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            picture = picture_field("Hazy picture", setup)
            examples = gr.Dataset(
                components=[picture], samples=_examples(setup), label="Examples", elem_id="examples", type="values"
            )
            examples.click(lambda sample: sample[0], [examples], [picture], api_visibility="private")
            model = gr.Dropdown(names, value=names[0], label="Model", elem_id="model")
            run = gr.Button("Remove haze", variant="primary", elem_id="run")
            _log_button(setup, picture, model)
        with gr.Column(scale=3, min_width=300):
            slider = gr.ImageSlider(
                label="Hazy | restored", type="filepath", interactive=False, max_height=560, buttons=["fullscreen"]
            )
            told = gr.Markdown("Upload a picture, or choose an example.", elem_id="told", min_height=28)
            download = gr.DownloadButton("Download the whole picture", interactive=False, elem_id="download")
            with gr.Row():
                k_map = gr.Image(label=K_LABEL, interactive=False, buttons=["fullscreen"], min_width=260)
                with gr.Column(min_width=260):
                    # Made by us of numbers alone; an HTML block would need scripts that are made while the page runs.
                    histograms = gr.Markdown(sanitize_html=False)
    outputs = [slider, k_map, histograms, told, download]

    def dehaze(path: Path | None, name: str, progress: gr.Progress = gr.Progress()) -> Iterator[tuple[Any, ...]]:  # noqa: B008
        with told_to_the_visitor(), folder_of(setup) as folder:
            yield from show_dehazed(setup, path, setup.networks[name], folder, progress)

    gr.on(
        [picture.change, model.change, run.click],
        dehaze,
        [picture, model],
        outputs,
        trigger_mode="always_last",
        concurrency_id="work",
        show_progress_on=[told],
        api_visibility="private",
    )
    return picture


def _log_button(setup: Setup, picture: gr.Image, model: gr.Dropdown) -> None:
    keep = gr.Button("Log the result to W&B", visible=setup.log is not None)
    logged = gr.Markdown(visible=setup.log is not None)

    def log(path: Path | None, name: str) -> str:
        with told_to_the_visitor():
            if path is None or setup.log is None:
                return "There is no result to log."
            check_picture(path, setup.most_pixels)
            shown = demo_dehaze.preview(path, setup.networks[name])
            pictures = {"hazy": shown.hazy, "restored": shown.restored, "k": shown.k_map}
            return setup.log(pictures, {"k_low": shown.k_low, "k_high": shown.k_high})

    keep.click(log, [picture, model], [logged], concurrency_id="work", api_visibility="private")


def show_dehazed(
    setup: Setup, path: Path | None, network: Network, folder: Path, progress: Callable[..., object]
) -> Iterator[tuple[Any, ...]]:
    """What the tab shows: first at the size of the screen, then the whole picture."""
    closed = gr.DownloadButton(interactive=False, value=None)
    if path is None:
        yield None, None, "", "Upload a picture, or choose an example.", closed
        return
    check_picture(path, setup.most_pixels)
    shown = demo_dehaze.preview(path, network)
    hazy = write_shown(shown.hazy, folder / "hazy.jpg")
    k_map = gr.Image(str(write_shown(shown.k_map, folder / "k.jpg")), label=_k_label(shown))
    histograms = demo_dehaze.histograms({"hazy": shown.hazy, "restored": shown.restored})
    quick = f"Preview after {shown.seconds:.2f} s; the whole picture is on its way."
    yield (hazy, write_shown(shown.restored, folder / "preview.jpg")), k_map, histograms, quick, closed
    done = demo_dehaze.whole(path, network, folder / "whole", lambda share, text: progress(share, desc=text))
    pixels = images.as_rgb8(images.read_picture(done.path), path.name)
    height, width = pixels.shape[:2]
    hazy = write_shown(read_for_screen(path, FULLSCREEN_PX), folder / "hazy-large.jpg")
    restored = write_shown(on_screen(pixels, FULLSCREEN_PX), folder / "restored.jpg")
    told = timing(shown.seconds, done.seconds, width, height) + "".join(f"  \nNote: {text}" for text in done.remarks)
    yield (hazy, restored), k_map, histograms, told, gr.DownloadButton(interactive=True, value=done.path)


def _k_label(shown: Preview) -> str:
    return f"{K_LABEL}: {shown.k_low:.2f} (purple) to {shown.k_high:.2f} (yellow)"


def _examples(setup: Setup) -> list[list[str]]:
    """Hazy pictures of procedural scenes, made at the start."""
    folder = setup.scratch / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for index, name in EXAMPLES:
        settings = demo_recipe.PRESETS[name]
        scene = demo_haze.load(demo_haze.write_procedural(index, setup.scratch))
        hazy, _, _ = demo_haze.add_haze(scene, demo_recipe.recipe_of(settings), settings.seed)
        path = folder / f"{name.split(',')[0].replace(' ', '-')}.png"
        path.write_bytes(images.encode(hazy, ".png"))
        made.append([str(path)])
    return made
