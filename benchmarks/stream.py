"""Training batches from a disk and from S3: pairs a second of the input pipeline alone, side by side in one run.

Makes a dataset of procedural photos (or takes yours), puts it into an S3 server on the loopback interface (moto's,
in a process of its own), and goes through an epoch of it in three ways, several times, in turn: from the disk, from
S3 with an empty cache, and from S3 with all of it in the cache. The server is one Python process: what a cold cache
costs is its speed, and says nothing about a real store's.

    python benchmarks/stream.py --scenes 64 --variants 10 --repeats 5 --out stream.json
    python benchmarks/stream.py --data DATASET --repeats 3
    python benchmarks/stream.py --short
"""

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from hazegen import config, engine, manifest, stores
from hazegen.make import make
from hazegen.make_options import MakeOptions
from hazegen.recipe import Recipe
from hazegen.samples import make_samples

ADDRESS = "s3://benchmark/pairs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a dataset of hazegen's in place of procedural photos")
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--variants", type=int, default=10)
    parser.add_argument("--shard-mb", type=float, default=16.0)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="a tiny run that only shows that all works")
    parser.add_argument("--out", type=Path, default=Path("stream.json"))
    given = parser.parse_args()
    if given.short:
        given.scenes, given.variants, given.shard_mb, given.repeats = 8, 2, 1.0, 1
    with tempfile.TemporaryDirectory() as folder, s3_server():
        data = given.data or make_dataset(Path(folder), given)
        upload(data)
        rates = measure(data, Path(folder) / "cache", given)
        report(rates, manifest.load(data), given)


def make_dataset(folder: Path, given: argparse.Namespace) -> Path:
    """Pairs of 640 x 480 under the recipe aod-released, all of them for training."""
    made = folder / "scenes"
    make_samples(made, given.scenes, 0)
    recipe = config.build(Recipe, config.read_config(config.find_config("aod-released", "recipes"), Recipe))
    options = MakeOptions(
        images=made / "images",
        depth=made / "depth",
        camera=made / "camera",
        out=folder / "pairs",
        variants=given.variants,
        splits="train=1",
        shard_mb=given.shard_mb,
    )
    make(options, recipe)
    return options.out


@contextmanager
def s3_server() -> Iterator[None]:
    """An empty S3 on the loopback interface that this process finds by its environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        # No profile of the user's own decides where this goes, and with whose rights.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        os.environ.pop(name, None)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}")
            yield
        finally:
            process.terminate()


def wait_for(url: str, seconds: float = 60.0) -> None:
    """Until a server answers."""
    ends = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)


def upload(data: Path) -> None:
    """The dataset as it is, into a new bucket."""
    import boto3

    boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).create_bucket(Bucket="benchmark")
    for path in data.iterdir():
        if path.is_file():
            with stores.whole_file(stores.place(ADDRESS) / path.name) as file, path.open("rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)


def measure(data: Path, cache: Path, given: argparse.Namespace) -> dict[str, list[float]]:
    """Pairs a second of each way, in each repeat."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    known = manifest.load(data)
    epoch(data, cache, given)  # TensorFlow's first pass is slower
    rates: dict[str, list[float]] = {"disk": [], "S3, cold cache": [], "S3, warm cache": []}
    for _ in range(given.repeats):
        shutil.rmtree(cache, ignore_errors=True)
        for way in rates:
            began = time.perf_counter()
            pairs = epoch(data if way == "disk" else stores.place(ADDRESS), cache, given)
            rates[way].append(pairs / (time.perf_counter() - began))
            assert pairs == known.records_of("train")
    return rates


def epoch(place: Path, cache: Path, given: argparse.Namespace) -> int:
    """Goes through all training batches; their pairs."""
    from aodnet.data import Source, training_batches
    from aodnet.streaming import CacheOptions, open_stream

    options = CacheOptions(cache=cache) if stores.is_remote(place) else CacheOptions()
    source = Source(place, manifest.load(place), stream=open_stream(place, options))
    batches = training_batches([source], crop=given.crop, batch=given.batch, seed=0, epoch=0)
    return sum(int(pairs["hazy"].shape[0]) for pairs in batches)


def report(rates: dict[str, list[float]], known: manifest.Manifest, given: argparse.Namespace) -> None:
    shards = known.shards_of("train")
    pairs, size = known.records_of("train"), sum(shard.bytes for shard in shards)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{pairs} pairs, {size / 1e6:.0f} MB in {len(shards)} shards, crop {given.crop}, median of {given.repeats}")
    for name, rate in medians.items():
        print(f"{name:<16}{rate:8.1f} pairs/s {rate * size / pairs / 1e6:8.1f} MB/s {rate / medians['disk']:6.2f} x")
    content = {"date": str(date.today()), "machine": platform.machine(), "cores": engine.cores(), "pairs": pairs}
    content |= {"bytes": size, "shards": len(shards), "crop": given.crop, "batch": given.batch}
    content |= {"pairs_per_s": rates, "median": medians}
    given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
