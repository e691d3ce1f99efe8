"""The tab of the demo's page on which haze is made."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from aodnet import demo_haze, demo_recipe
from aodnet.demo_setup import Setup, folder_of, picture_field, takes_paths, timing, told_to_the_visitor
from aodnet.demo_uploads import DEPTHS, FULLSCREEN_PX, check_depth, check_picture, on_screen, write_shown
from hazegen import images

UPLOAD, PROCEDURAL = "photo and depth map", "procedural scene"
SPACES = {"sRGB-coded values, as the published sets": "srgb", "linear light, as physics": "linear"}


def haze_tab(setup: Setup, blocks: gr.Blocks) -> tuple[gr.DownloadButton, gr.Button]:
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            scene = _scene_controls(setup)
            preset = gr.Dropdown(list(demo_recipe.PRESETS), label="Preset", elem_id="preset")
            controls = _haze_controls()
        with gr.Column(scale=3, min_width=300, elem_classes="results"):
            slider, told, hazy_file, dehaze_it, transmission, text = _results()
    inputs = [*scene.values(), *controls.values()]

    def make(*values: Any, progress: gr.Progress = gr.Progress()) -> Iterator[tuple[Any, ...]]:  # noqa: B008
        given = dict(zip([*scene, *controls], values, strict=True))
        with told_to_the_visitor(), folder_of(setup) as folder:
            yield from show_haze(setup, given, folder, progress)

    gr.on(
        [blocks.load, *(control.change for control in [*scene.values(), *controls.values()])],
        make,
        inputs,
        [slider, transmission, text, told, hazy_file, dehaze_it],
        trigger_mode="always_last",
        concurrency_id="work",
        show_progress_on=[told],
        api_visibility="private",
    )
    preset.input(_of_preset, [preset], list(controls.values()), api_visibility="private")
    # What was changed by hand is no preset any more.
    by_hand = [control.input for control in controls.values()]
    gr.on(by_hand, lambda: None, None, [preset], show_progress="hidden", api_visibility="private")
    return hazy_file, dehaze_it


def _results() -> tuple[gr.ImageSlider, gr.Markdown, gr.DownloadButton, gr.Button, gr.Image, gr.Code]:
    slider = gr.ImageSlider(
        label="Clean | hazy", type="filepath", interactive=False, max_height=560, buttons=["fullscreen"],
        elem_classes="shown",
    )  # fmt: skip
    told = gr.Markdown(elem_id="told-haze", min_height=28, elem_classes="more")
    with gr.Row(elem_classes="more"):
        hazy_file = gr.DownloadButton("Download PNG", interactive=False, elem_id="download-hazy")
        dehaze_it = gr.Button("Dehaze it", variant="primary", interactive=False, elem_id="dehaze-it")
    transmission = gr.Image(
        label="Transmission t: black 0, white 1", interactive=False, buttons=["fullscreen"],
        elem_classes="more",
    )  # fmt: skip
    text = gr.Code(
        label="Recipe (haze.yaml)", language="yaml", interactive=False,
        elem_id="recipe", buttons=["copy", "download"], show_line_numbers=False, wrap_lines=True,
        elem_classes="more",
    )  # fmt: skip
    return slider, told, hazy_file, dehaze_it, transmission, text


def _scene_controls(setup: Setup) -> dict[str, Any]:
    kind = gr.Radio([PROCEDURAL, UPLOAD], value=PROCEDURAL, label="Scene", elem_id="scene")
    index = gr.Number(
        demo_haze.DEFAULT_SCENE, label="Number of the procedural scene (streets and rooms)", precision=0, minimum=0,
        maximum=demo_haze.LAST_SCENE, elem_id="index",
    )  # fmt: skip
    with gr.Column(visible=False) as files:
        photo = picture_field("Clean photo", setup)
        depth = gr.File(label="Depth map (PNG of 16 bits, or .npy)", file_types=list(DEPTHS), height=160)
        takes_paths(depth)
        # Texts: an empty number becomes 0 on the page, which would be a value.
        scale = gr.Textbox(
            label="Depth scale [m per unit]", info="0.001 for millimetres; empty for a .npy of metres",
            max_lines=1, elem_id="scale",
        )  # fmt: skip
        sky = gr.Textbox(
            label="Value of the sky", info="as 65535; empty for none; infinity always is sky", max_lines=1,
            elem_id="sky",
        )  # fmt: skip
        fov = gr.Number(
            60.0, label="Field of view [degree]", info="from the left to the right edge of the photo", minimum=1,
            maximum=179, elem_id="fov",
        )  # fmt: skip

    def show(chosen: str) -> tuple[Any, Any]:
        return gr.Number(visible=chosen == PROCEDURAL), gr.Column(visible=chosen == UPLOAD)

    kind.change(show, [kind], [index, files], api_visibility="private")
    return {"kind": kind, "index": index, "photo": photo, "depth": depth, "scale": scale, "sky": sky, "fov": fov}


def _haze_controls() -> dict[str, Any]:
    """The control of each field of demo_recipe.Settings, in their order."""
    first = demo_recipe.Settings()
    space = next(text for text, name in SPACES.items() if name == first.color_space)
    made: dict[str, Any] = {}
    made["visibility_m"] = gr.Slider(
        5, 2000, first.visibility_m, step=5, label="Visibility [m]", elem_id="visibility",
        info="where 5 % of the light is left",
    )  # fmt: skip
    made["atmospheric_light"] = gr.Slider(
        0, 1, first.atmospheric_light, step=0.01, label="Atmospheric light A [share of white]"
    )
    made["light_color"] = gr.ColorPicker(first.light_color, label="Colour of A", info="A is multiplied by it")
    made["angstrom_exponent"] = gr.Slider(
        -1, 4, first.angstrom_exponent, step=0.1, label="Angstrom exponent [1]",
        info="0: gray fog; above: blue is scattered more than red",
    )  # fmt: skip
    made |= _uneven_controls(first)
    made["color_space"] = gr.Radio(list(SPACES), value=space, label="The equation is applied to")
    made["seed"] = gr.Number(first.seed, label="Seed of patches and noise", precision=0, minimum=0)
    return made


def _uneven_controls(first: demo_recipe.Settings) -> dict[str, Any]:
    """Those of what changes over the picture."""
    made: dict[str, Any] = {}
    with gr.Accordion("Patches, height fog, noise", open=False):
        made["noise_contrast"] = gr.Slider(
            0, 2, first.noise_contrast, step=0.05, label="Patchiness [standard deviation over mean]"
        )
        made["noise_scale_m"] = gr.Slider(
            1, 200, first.noise_scale_m, step=1, label="Size of patches [m]", info="only with patchiness above 0"
        )
        made["sensor_noise"] = gr.Slider(
            0, 0.2, first.sensor_noise, step=0.005, label="Sensor noise [share of white, linear light]"
        )
        made["height_fog"] = gr.Checkbox(first.height_fog, label="Height fog: thins with height")
        made["height_scale_m"] = gr.Slider(
            0.5, 200, first.height_scale_m, step=0.5, label="Thins to 1/e over [m]", info="only with height fog"
        )
        made["camera_height_m"] = gr.Slider(
            0, 200, first.camera_height_m, step=0.5, label="Camera's height [m]", info="only with height fog or patches"
        )
        made["camera_pitch_deg"] = gr.Slider(
            -90,
            90,
            first.camera_pitch_deg,
            step=1,
            label="Camera looks up by [degree]",
            info="only with height fog or patches",
        )
    return made


def _of_preset(name: str) -> list[Any]:
    settings = demo_recipe.PRESETS[name]
    values = {field: getattr(settings, field) for field in settings.__dataclass_fields__}
    values["color_space"] = next(text for text, space in SPACES.items() if space == settings.color_space)
    return list(values.values())


def show_haze(
    setup: Setup, given: dict[str, Any], folder: Path, progress: Callable[..., object]
) -> Iterator[tuple[Any, ...]]:
    """What the tab shows: first at the size of the screen, then the whole picture."""
    closed = gr.DownloadButton(interactive=False, value=None), gr.Button(interactive=False)
    began = time.perf_counter()
    source = _source(setup, given)
    if source is None:
        yield None, None, "", "Upload a photo and its depth map.", *closed
        return
    chosen = {name: given[name] for name in demo_recipe.Settings.__dataclass_fields__}
    settings = demo_recipe.settings_of(chosen | {"color_space": SPACES.get(given["color_space"], "")})
    recipe = demo_recipe.recipe_of(settings)
    text = demo_haze.recipe_text(recipe, settings.seed, source)
    small = demo_haze.load_for_screen(source)
    hazy, seen, _ = demo_haze.add_haze(small, recipe, settings.seed)
    preview_s = time.perf_counter() - began
    shown = [write_shown(pixels, folder / f"{number}.jpg") for number, pixels in enumerate((small.clean, hazy, seen))]
    quick = f"Preview after {preview_s:.2f} s; the whole picture is on its way."
    yield (shown[0], shown[1]), shown[2], text, quick, *closed
    progress(0.2, desc="reading the whole scene")
    scene = demo_haze.load(source)
    progress(0.5, desc="making haze")
    whole, _, haze = demo_haze.add_haze(scene, recipe, settings.seed)
    progress(0.7, desc="writing PNG")
    path = folder / f"{Path(source.key).name}-hazy.png"
    path.write_bytes(images.encode(whole, ".png"))
    height, width = whole.shape[:2]
    large = [
        write_shown(on_screen(pixels, FULLSCREEN_PX), folder / f"{name}.jpg")
        for name, pixels in (("clean", scene.clean), ("hazy", whole))
    ]
    told = timing(preview_s, time.perf_counter() - began - preview_s, width, height)
    beta = ", ".join(f"{value:.3g}" for value in haze.beta)
    told += f"  \nExtinction of red, green, blue: {beta} per metre."
    opened = gr.DownloadButton(interactive=True, value=path), gr.Button(interactive=True)
    yield (large[0], large[1]), shown[2], text, told, *opened


def _source(setup: Setup, given: dict[str, Any]) -> demo_haze.Source | None:
    """The scene that is asked for; None while a file of it is missing."""
    if given["kind"] == PROCEDURAL:
        return demo_haze.write_procedural(given["index"], setup.scratch)
    photo, depth = given["photo"], given["depth"]
    if photo is None or depth is None:
        return None
    check_picture(photo, setup.most_pixels)
    check_depth(depth, setup.most_pixels)
    scale = demo_recipe.number_or_none("Depth scale", given["scale"])
    sky = demo_recipe.number_or_none("Value of the sky", given["sky"])
    return demo_haze.uploaded(photo, depth, scale, sky, given["fov"])
