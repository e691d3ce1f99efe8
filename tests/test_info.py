"""What hazegen info says of a dataset, and from how much of it."""

import dataclasses
import json
import shutil
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
import pytest

from hazegen import cli, heads, info, manifest, records
from hazegen.derive_sample import SampleOptions, sample
from hazegen.errors import RefusedError, VerifyError
from hazegen.make import make
from hazegen.store_path import StorePath


def told(found):
    """The facts of the text by their names."""
    lines = list(info.lines(found))
    return {line[:12].strip(): line[12:] for line in lines[: lines.index("")]}


def stored(folder):
    """The features of each record."""
    shards = manifest.load(folder).shards
    return [records.decode(record) for shard in shards for record in records.read_shard(folder / shard.name)]


def test_text_says_what_the_manifest_says(dataset):
    found, known = info.look(dataset), manifest.load(dataset)
    facts = told(found)
    size = sum(shard.bytes for shard in known.shards) / 1e6
    assert facts["pairs"] == f"36 of 12 scenes, {len(known.shards)} shards, {size:.1f} MB"
    assert facts["recipe"] == (
        "aod-released: atmospheric_light [1.0, 0.9, 0.95], beta [0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28], "
        "path plane, sweep grid"
    )
    assert facts["haze"] == "seed 0, up to 3 pairs a scene, the equation applied to sRGB-coded values"
    assert facts["stored as"] == "JPEG, quality 95, 4:4:4, transmissions not stored; kind pairs"
    assert facts["least size"] == "64 x 96 px, height x width"
    assert facts["inputs"] == "12 found = 12 used + 0 rejected"
    assert f"numpy {np.__version__}" in facts["made with"]
    assert facts["licence"] == "not stated (hazegen card --license)"
    assert facts["digest"] == manifest.digest(known)
    assert "made by" not in facts
    table = [line.split() for line in info.lines(found) if line.startswith(manifest.SPLITS)]
    assert [row[:3] for row in table] == [["train", "6", "18"], ["validation", "3", "9"], ["test", "3", "9"]]
    assert list(info.lines(found))[-1] == "from all 36 pairs"


def test_histograms_count_every_pair(dataset):
    pairs, found = stored(dataset), {drawn.axis: drawn for drawn in info.look(dataset).histograms}
    beta = found["beta, green [1/m]"]
    values = sorted({values["beta"][1] for values in pairs})
    assert list(beta.edges) == values, "few different numbers are shown as they are"
    assert list(beta.counts) == [sum(p["beta"][1] == value for p in pairs) for value in values]
    share = found["mean transmission"]
    assert np.allclose(share.edges, np.linspace(0, 1, 11))
    for (low, high), count in zip(zip(share.edges, share.edges[1:], strict=False), share.counts, strict=True):
        assert sum(low <= p["mean_transmission"] < high for p in pairs) == count
    assert share.median == pytest.approx(np.median([p["mean_transmission"] for p in pairs]))
    light = found["atmospheric light, mean of its channels"]
    assert sum(light.counts) == 36
    assert light.edges == pytest.approx((0.9, 0.95, 1.0))


@pytest.mark.parametrize("by_factors", [True, False])
def test_histogram_of_many_numbers_has_bins_that_hold_all(by_factors):
    values = np.random.default_rng(0).uniform(0.01, 1.0, 500) ** (4 if by_factors else 1)
    drawn = info._histogram(values, "x", by_factors)
    assert (len(drawn.edges), len(drawn.counts), sum(drawn.counts)) == (11, 10, 500)
    steps = np.diff(np.log(drawn.edges) if by_factors else drawn.edges)
    assert np.allclose(steps, steps[0])
    outside = info._histogram(np.linspace(-0.5, 2.0, 50), "x", False)
    assert sum(outside.counts) == 50


def test_bars_are_as_long_as_their_counts_and_aligned():
    lines = list(info._draw(info.Histogram("x [m]", (0.5, 1.0, 20.0, 400.0), (8, 0, 4), 1.5)))
    assert lines == [
        "x [m], median 1.5",
        "  0.5 to   1  " + "█" * 32 + "         8",
        "    1 to  20  " + " " * 32 + "         0",
        "   20 to 400  " + "█" * 16 + " " * 16 + "         4",
    ]
    assert info._bar(1 / 64) == "▌"
    assert info._bar(1e-9) == "▏"
    assert info._bar(0.0) == ""


def test_of_a_large_dataset_some_shards_are_read(dataset):
    shards = manifest.load(dataset).shards
    found, chosen = info.look(dataset, most=18), shards[::2]
    records_read = sum(shard.records for shard in chosen)
    assert found.read == (records_read, len(chosen))
    last = f"from {records_read} of 36 pairs ({len(chosen)} of {len(shards)} shards, spread evenly)"
    assert list(info.lines(found))[-1] == last
    assert sum(found.histograms[0].counts) == records_read
    assert info.look(dataset, most=1).read == (shards[0].records, 1)
    assert {shard.split for shard in chosen} == {"train", "validation", "test"}


def test_no_picture_is_read(dataset, monkeypatch):
    monkeypatch.setattr(records, "read_shard", lambda *_: pytest.fail("a shard was read whole"))
    assert info.look(dataset).read[0] == 36


class Stored(StorePath):
    """A folder of the disk as a store: counts what is read of it."""

    taken: ClassVar[dict[str, list[int]]] = {}

    @property
    def here(self):
        return Path("/") / self.path

    def __truediv__(self, name):
        return Stored("s3", self._inner / str(name))

    def is_file(self):
        return self.here.is_file()

    def stat(self):
        return self.here.stat()

    def read_bytes(self):
        return self.here.read_bytes()

    def open(self, mode="r", *given, **more):
        self.taken.setdefault(self.name, []).append(self.here.stat().st_size)
        return self.here.open(mode, *given, **more)

    def read_part(self, start, stop):
        self.taken.setdefault(self.name, []).append(stop - start)
        return self.here.read_bytes()[start:stop]


def test_of_a_dataset_in_a_store_the_numbers_alone_are_fetched(make_photos, make_options, load_recipe, tmp_path):
    photos = make_photos(scenes=6, height=200, width=300)
    options = make_options(photos, tmp_path / "out", codec="png", variants=3, splits="train=1")
    make(options, load_recipe("aod-released"))
    Stored.taken.clear()
    found = info.look(Stored("s3", PurePosixPath(str(tmp_path / "out").lstrip("/"))))
    assert dataclasses.replace(found, known=None) == dataclasses.replace(info.look(tmp_path / "out"), known=None)
    fetched = {name: read for name, read in Stored.taken.items() if name.endswith(".tfrecord")}
    sizes = {shard.name: (shard.bytes, shard.records) for shard in found.known.shards}
    assert set(fetched) == set(sizes)
    for name, (size, count) in sizes.items():
        assert len(fetched[name]) <= 3 * count + 1
        assert sum(fetched[name]) <= 3 * heads.RANGE_BYTES * (count + 1) < size / 4


def test_missing_table_of_inputs_is_told(dataset_copy, capsys):
    (dataset_copy / "inputs.csv").unlink()
    with pytest.raises(
        VerifyError, match=r"inputs.csv' cannot be read. Expected the table of inputs .* received no file"
    ):
        info.look(dataset_copy)
    assert cli.main(["info", str(dataset_copy)]) == 5
    assert "inputs.csv" in capsys.readouterr().err


def test_derived_dataset_names_its_sources(dataset, tmp_path):
    sample(dataset, tmp_path / "out", SampleOptions(pairs=5, workers=1))
    source = manifest.digest(manifest.load(dataset))
    facts = told(info.look(tmp_path / "out"))
    assert facts["made by"] == f"hazegen sample from aod-released, seed 0 ({source[:8]})"
    known = manifest.load(tmp_path / "out")
    other = dataclasses.replace(known, seed=None, also_made_with=({"numpy": "1.0"},), maps=True, codec="png")
    manifest.write(tmp_path / "out", dataclasses.replace(other, about=manifest.About(license="MIT\nor so")))
    facts = told(info.look(tmp_path / "out"))
    assert facts["haze"].startswith("seed one for each source, ")
    assert facts["and with"] == "numpy 1.0"
    assert facts["stored as"] == "PNG, transmissions stored too; kind pairs"
    assert facts["licence"] == "MIT or so"


def test_rejected_inputs_are_told_by_their_codes(dataset_copy):
    known, path = manifest.load(dataset_copy), dataset_copy / "inputs.csv"
    columns = path.read_text().splitlines()[0].count(",")
    for code in ("no-depth", "no-depth", "holes"):
        path.write_text(path.read_text() + f"k,a,b,,rejected,{code}" + "," * (columns - 5) + "\n")
    inputs = {"found": 15, "used": 12, "rejected": 3}
    manifest.write(dataset_copy, dataclasses.replace(known, inputs=inputs))
    found = info.look(dataset_copy)
    assert found.rejected == {"holes": 1, "no-depth": 2}
    assert told(found)["inputs"] == "15 found = 12 used + 3 rejected (1 holes, 2 no-depth)"


def test_json_has_all_of_it(dataset):
    found = info.look(dataset)
    values = json.loads(json.dumps(info.as_dict(found)))
    known = manifest.load(dataset)
    assert values["recipe"] == known.recipe
    assert values["digest"] == manifest.digest(known)
    assert values["made_by"] == "make"
    assert values["records_read"] == 36
    assert sum(values["splits"][split]["bytes"] for split in manifest.SPLITS) == sum(s.bytes for s in known.shards)
    assert values["splits"]["train"]["scenes"] == 6
    assert set(values["histograms"]) == {"beta", "visibility_m", "atmospheric_light", "mean_transmission"}
    assert sum(values["histograms"]["beta"]["counts"]) == 36
    assert values["inputs"] == known.inputs


def forge(folder, **changes):
    """Changes the first record of the first shard, and makes the manifest agree."""
    known = manifest.load(folder)
    shard = known.shards[0]
    first, *others = records.read_shard(folder / shard.name)
    framed = [records.frame(records.encode(records.decode(first) | changes)), *map(records.frame, others)]
    (folder / shard.name).write_bytes(b"".join(framed))
    size = (folder / shard.name).stat().st_size
    shards = (dataclasses.replace(shard, bytes=size), *known.shards[1:])
    manifest.write(folder, dataclasses.replace(known, shards=shards))


@pytest.mark.parametrize(
    "changes", [{"visibility_m": float("nan")}, {"mean_transmission": float("inf")}, {"beta": (1.0, 0.0, 1.0)}]
)
def test_numbers_that_cannot_be_are_refused(dataset_copy, changes):
    forge(dataset_copy, **changes)
    with pytest.raises(VerifyError, match=r"is not what the manifest says. Expected .* with finite numbers and beta"):
        info.look(dataset_copy)


def test_folder_that_is_no_sound_dataset_is_refused(dataset_copy, tmp_path):
    with pytest.raises(RefusedError, match="is no finished dataset"):
        info.look(tmp_path)
    plan = dataset_copy / "plan.jsonl"
    for content in (b"", b"[]\n", b"\xff\xfe"):
        plan.write_bytes(content)
        with pytest.raises(VerifyError, match=r"plan.jsonl' cannot be read. Expected the plan of the dataset"):
            info.look(dataset_copy)
    plan.unlink()
    with pytest.raises(VerifyError, match="received FileNotFoundError"):
        info.look(dataset_copy)
    shard = dataset_copy / manifest.load(dataset_copy).shards[0].name
    shutil.copy(shard, tmp_path / "kept")
    shard.write_bytes(shard.read_bytes()[:-7])
    with pytest.raises(VerifyError, match=r"is not what the manifest says. Expected .* bytes"):
        info.look(dataset_copy)
