"""One picture through AOD-Net in every runtime, beside a PyTorch port: milliseconds, in turn, in one run.

    python benchmarks/inference.py --torch-python /path/of/a/venv/bin/python --out build/inference.json
    python benchmarks/inference.py --short

Each runtime has all cores and takes the picture in one piece, float32 in memory to float32 in memory; 'keras, tiles'
is what `aodnet predict` does. The PyTorch port lives here, in a process of its own, whose Python is the one of
--torch-python: torch is no dependency of the package. Where there is none, its row is left out with a note. The table
goes to the screen and, with --docs, between the marks of docs/export_models.md.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

SIZES = ((480, 640), (2160, 3840))
MARKS = ("<!-- inference -->", "<!-- /inference -->")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="weights [default: the package's]")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--torch-python", default=sys.executable, help="a Python that has torch [default: this one]")
    parser.add_argument("--short", action="store_true", help="a tiny run that only shows that all works")
    parser.add_argument("--out", type=Path, default=Path("inference.json"))
    parser.add_argument("--docs", type=Path, help="a page whose table is replaced")
    parser.add_argument("--torch-worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.torch_worker:
        serve_torch(given.torch_worker)
        return
    sizes = ((48, 64), (96, 128)) if given.short else SIZES
    repeats = 2 if given.short else given.repeats
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        runners, notes = open_runners(given.model, given.torch_python, Path(folder), stack)
        rows = [measure(runners, size, repeats) for size in sizes]
    report(rows, sizes, notes, repeats, given)


def open_runners(
    model: str | None, torch_python: str, folder: Path, stack: ExitStack
) -> tuple[dict[str, Callable[[np.ndarray], tuple[float, np.ndarray]]], list[str]]:
    """Each runtime as a function from a hazy picture to the seconds it took and the restored one; notes."""
    from aodnet.quiet import load_tensorflow

    load_tensorflow()
    from aodnet import calibration, export, runtimes, weights

    network = weights.load(weights.find_weights(model or weights.DEFAULT))
    keras = runtimes.Restorer(runtimes.keras_call(network))
    calls = {"keras": keras.call, "keras, tiles": keras}
    pictures, origin = calibration.pictures(None)
    names = {"savedmodel": "a", "onnx": "a.onnx", "litert": "a.tflite", "litert-int8": "a8.tflite"}
    notes = []
    for form in export.FORMATS:
        done = export.export(network, form, folder / names[form], pictures=pictures, origin=origin)
        calls[form] = runtimes.load(str(done.path), "savedmodel" if form == "savedmodel" else None).call
        if done.psnr_db is not None:
            notes.append(f"{form}: {done.psnr_db:.1f} dB PSNR against Keras on {origin}.")
    runners = {name: timed(call) for name, call in calls.items()}
    if has_torch(torch_python):
        values = {
            f"w{number}_{part}": layer[part]
            for number, layer in enumerate(export.layers_of(network), 1)
            for part in (0, 1)
        }
        np.savez(folder / "weights.npz", **values)
        runners["pytorch"] = start_torch(torch_python, folder, stack)
    else:
        notes.append(f"pytorch: not run, '{torch_python}' has no torch.")
    return runners, notes


def timed(call: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    def run(hazy: np.ndarray) -> tuple[float, np.ndarray]:
        began = time.perf_counter()
        restored = call(hazy)
        return time.perf_counter() - began, restored

    return run


def measure(runners: dict[str, Any], size: tuple[int, int], repeats: int) -> dict[str, dict[str, float]]:
    """For each runtime its median [ms], its ratio to keras, and its largest difference from keras (clipped)."""
    hazy = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    outputs = {name: np.clip(run(hazy)[1], 0.0, 1.0) for name, run in runners.items()}  # and the first, slower, run
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(repeats):
        for name, run in runners.items():
            seconds[name].append(run(hazy)[0])
    medians = {name: 1000.0 * statistics.median(taken) for name, taken in seconds.items()}
    return {
        name: {
            "ms": round(medians[name], 3),
            "fastest_ms": round(1000.0 * min(seconds[name]), 3),
            "ratio": round(medians[name] / medians["keras"], 3),
            "largest_difference": float(np.abs(outputs[name] - outputs["keras"]).max()),
        }
        for name in runners
    }


# --- PyTorch, in a process of its own ---


def has_torch(python: str) -> bool:
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    try:
        return subprocess.run([python, "-c", code], check=False).returncode == 0
    except OSError:
        return False


def start_torch(python: str, folder: Path, stack: ExitStack) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """The port as a runner: pictures go through files, which no time is counted for."""
    command = [python, __file__, "--torch-worker", str(folder)]
    process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    assert process.stdin is not None and process.stdout is not None  # noqa: PT018
    stack.callback(process.stdin.close)

    def run(hazy: np.ndarray) -> tuple[float, np.ndarray]:
        np.save(folder / "hazy.npy", hazy)
        process.stdin.write("run\n")
        process.stdin.flush()
        return float(process.stdout.readline()), np.load(folder / "clean.npy")

    return run


def serve_torch(folder: Path) -> None:
    """Restores hazy.npy into clean.npy for each line on stdin, and answers with the seconds."""
    import torch
    from torch import nn

    class AODNet(nn.Module):
        """Li et al., 2017: five convolutions, joined as in their Fig. 3, and Eq. 4."""

        def __init__(self, filters: int) -> None:
            super().__init__()
            f = filters
            shapes = ((3, f, 1), (f, f, 3), (2 * f, f, 5), (2 * f, f, 7), (4 * f, 3, 3))
            self.conv = nn.ModuleList(nn.Conv2d(i, o, size, padding=size // 2) for i, o, size in shapes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x1 = torch.relu(self.conv[0](x))
            x2 = torch.relu(self.conv[1](x1))
            x3 = torch.relu(self.conv[2](torch.cat((x1, x2), 1)))
            x4 = torch.relu(self.conv[3](torch.cat((x2, x3), 1)))
            k = torch.relu(self.conv[4](torch.cat((x1, x2, x3, x4), 1)))
            return torch.relu(k * x - k + 1.0)

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with np.load(folder / "weights.npz", allow_pickle=False) as held:
        network = AODNet(held["w1_0"].shape[3]).eval()
        with torch.no_grad():
            for number, layer in enumerate(network.conv, 1):
                layer.weight.copy_(torch.from_numpy(held[f"w{number}_0"].transpose(3, 2, 0, 1).copy()))
                layer.bias.copy_(torch.from_numpy(held[f"w{number}_1"]))
    for _ in sys.stdin:
        hazy = np.load(folder / "hazy.npy")
        with torch.inference_mode():
            began = time.perf_counter()
            planes = torch.from_numpy(hazy).permute(2, 0, 1)[None].contiguous()
            clean = np.ascontiguousarray(network(planes)[0].permute(1, 2, 0).numpy())
            seconds = time.perf_counter() - began
        np.save(folder / "clean.npy", clean)
        print(seconds, flush=True)


# --- the table ---


def report(
    rows: list[dict[str, dict[str, float]]],
    sizes: tuple[tuple[int, int], ...],
    notes: list[str],
    repeats: int,
    given: argparse.Namespace,
) -> None:
    heads = [f"{width} x {height} [ms] | x keras" for height, width in sizes]
    lines = [f"| runtime | {' | '.join(heads)} | largest difference |", f"|{'---|' * (2 + 2 * len(sizes))}"]
    for name in rows[0]:
        cells = [f"{row[name]['ms']:.1f} | {row[name]['ratio']:.2f}" for row in rows]
        lines.append(f"| {name} | {' | '.join(cells)} | {max(row[name]['largest_difference'] for row in rows):.1g} |")
    cores = len(os.sched_getaffinity(0))
    where = f"{cpu()}, {cores} cores, Python {platform.python_version()}, {date.today()}, median of {repeats}, in turn."
    text = "\n".join([where, "", *lines, "", *notes])
    print(text)
    content = {"date": str(date.today()), "cpu": cpu(), "cores": cores, "repeats": repeats, "notes": notes}
    content["sizes"] = [
        {"height": size[0], "width": size[1], "runtimes": row} for size, row in zip(sizes, rows, strict=True)
    ]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if given.docs:
        before, rest = given.docs.read_text(encoding="utf-8").split(MARKS[0])
        given.docs.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{rest.split(MARKS[1])[1]}", encoding="utf-8")


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
