"""The page of `aodnet demo`: its two tabs, its look, and how it is served."""

import os

import gradio as gr
from starlette.middleware import Middleware

from aodnet.demo_dehaze_tab import dehaze_tab
from aodnet.demo_gate import Gate
from aodnet.demo_haze_tab import haze_tab
from aodnet.demo_setup import Setup

# Requests that wait while one is worked on; one more is told to come back.
MOST_WAITING = 16
MOST_SESSIONS = 100
# Files of visitors are deleted after an hour, looked for every ten minutes [s].
DELETE_EVERY, DELETE_AFTER = 600, 3600
# Nothing is loaded from elsewhere: fonts are the visitor's own.
FONTS = ("system-ui", "sans-serif")
MONO = ("ui-monospace", "monospace")
CSS = """
.gradio-container {
  width: 100% !important; max-width: 1240px !important; margin: 0 auto;
  overflow: clip !important; /* where it is hidden, nothing within can be sticky */
}
.histograms {display: flex; flex-direction: column; gap: 12px}
.histograms figure {margin: 0}
.histograms svg {width: 100%; display: block}
/* On a phone the picture stands above its sliders, and stays in sight while they are moved. */
@media (max-width: 767px) {
  .results {display: contents !important}
  .shown {order: -1; position: sticky; top: 0; z-index: 100; background: var(--body-background-fill)}
  .more {order: 2}
}
.histograms figcaption {display: flex; justify-content: space-between; font-size: 13px}
"""


def start(setup: Setup, host: str, port: int, hosts: tuple[str, ...]) -> gr.Blocks:
    """Serves the page, until its `close` is called.

    Args:
        hosts: As Gate has it.

    Raises:
        OSError: The port is taken.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(setup.cache)
    blocks = build(setup)
    setup.own.update(setup.cache.rglob("*"))
    blocks.queue(max_size=MOST_WAITING, default_concurrency_limit=1, api_open=False)
    gate = Middleware(Gate, cache=setup.cache, hosts=hosts, most_upload=setup.most_upload)
    blocks.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        allowed_paths=[],
        max_file_size=setup.most_upload,
        state_session_capacity=MOST_SESSIONS,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        num_workers=0,
        pwa=False,
        run_history=False,
        footer_links=[],
        theme=gr.themes.Default(font=FONTS, font_mono=MONO).set(block_info_text_color="*neutral_600"),
        css=CSS,
        app_kwargs={"middleware": [gate], "docs_url": None, "redoc_url": None, "openapi_url": None},
    )
    return blocks


def build(setup: Setup) -> gr.Blocks:
    """The page."""
    with gr.Blocks(title="AOD-Net demo", analytics_enabled=False, delete_cache=(DELETE_EVERY, DELETE_AFTER)) as blocks:
        but = "" if setup.log is None else ", but for results that you log at W&B"
        gr.Markdown(f"# Haze: remove it, make it\nPictures stay on the computer that serves this page{but}.")
        with gr.Tabs() as tabs:
            with gr.Tab("Dehaze", id="dehaze"):
                picture = dehaze_tab(setup)
            with gr.Tab("Make haze", id="haze"):
                hazy_file, dehaze_it = haze_tab(setup, blocks)
        dehaze_it.click(
            lambda path: (gr.Tabs(selected="dehaze"), path),
            [hazy_file],
            [tabs, picture],
            api_visibility="private",
        )
    return blocks
