"""Before a run: depth by a network, and a look at the maps that stops what cannot be."""

import csv
import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from depth_fixtures import write

import hazegen.cli
from hazegen import depth_source, images, make, manifest, planning, records, samples, stores
from hazegen.depth.network import ModelOptions
from hazegen.errors import RefusedError, UsageError
from hazegen.estimate import estimate
from hazegen.make_options import MakeOptions
from hazegen.recipe import Draw, Recipe

PLANE = Recipe(path="plane", beta=Draw("values", (0.1,)), atmospheric_light=Draw("values", (0.9,)))


@pytest.fixture
def command(capsys):
    """command(*words): exit status and what is printed to stdout and stderr."""

    def call(*words):
        try:
            status = hazegen.cli.main([str(word) for word in words])
        except SystemExit as end:
            status = end.code
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def pairs(folder):
    shards = manifest.load(folder).shards
    return [records.decode(record) for shard in shards for record in records.read_shard(folder / shard.name)]


def distances(values):
    """What -ln(t) / beta gives back of the stored transmission [m]."""
    return -np.log(images.decode(values["transmission"], "transmission") / 65535.0) / values["beta"][1]


def rows_of(folder):
    with (folder / manifest.INPUTS).open(newline="", encoding="utf-8") as file:
        return {row["key"]: row for row in csv.DictReader(file)}


# --- depth by a network ---


@pytest.fixture
def sum_net(tmp_path):
    """sum_net(factor, add): an ONNX file whose output is `factor` times the sum of red, green and blue, plus `add`."""
    onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
    pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")

    def save(factor=2.0, add=1.0):
        helper, kind = onnx.helper, onnx.TensorProto.FLOAT
        weights = {"mix": np.full((1, 3, 1, 1), factor, np.float32), "add": np.full(1, add, np.float32)}
        graph = helper.make_graph(
            [helper.make_node("Conv", ["x", "mix", "add"], ["depth"])],
            "net",
            [helper.make_tensor_value_info("x", kind, ("n", 3, "h", "w"))],
            [helper.make_tensor_value_info("depth", kind, ("n", 1, "h", "w"))],
            [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
        )
        path = tmp_path / f"net{factor}-{add}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    return save


@pytest.fixture
def folder(tmp_path):
    """Four photos of 24 x 36 with smooth colours; one in a folder of its own."""
    for number, name in enumerate(("a.png", "b.png", "sub/c.png", "d.jpg")):
        coarse = np.random.default_rng(number).random((4, 6, 3), np.float32)
        pixels = np.rint(255 * cv2.resize(coarse, (36, 24), interpolation=cv2.INTER_LINEAR)).astype(np.uint8)
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images.encode(pixels, path.suffix))
        os.utime(path, (1e9, 1e9))
    return tmp_path / "photos"


def estimated_m(photo, factor=2.0):
    """What the network gives for a photo."""
    return 1.0 + factor * images.as_rgb8(images.read_picture(photo), "photo").astype(np.float64).sum(axis=2) / 255.0


@pytest.fixture
def run(folder, sum_net, tmp_path):
    """run(recipe, values='plane', model={...}, **options): makes tmp_path/out with a network's depth."""

    def call(recipe=PLANE, file=None, values="plane", model=None, **changes):
        file = file or sum_net()
        given = {"images": folder, "out": tmp_path / "out", "depth_model": file, "maps": True, "variants": 1}
        given |= {"workers": 1, "splits": "train=1", "shard_mb": 0.0006}
        how = ModelOptions(file, **({"values": values, "short_side": 24, "threads": 1} | (model or {})))
        return make.make(MakeOptions(**(given | changes)), recipe, model=how)

    return call


def words_of(folder, net, out, *more):
    words = ["make", "--images", folder, "--depth-model", net, "--out", out, "--model.short-side", 24]
    return [*words, "--model.threads", 1, "--variants", 1, "--workers", 1, *more]


def test_metres_of_a_network_are_the_distances_of_the_records(run, folder, tmp_path):
    made = run()
    assert made.manifest.inputs == {"found": 4, "used": 4, "rejected": 0}
    names = {"a": "a.png", "b": "b.png", "sub/c": "sub/c.png", "d": "d.jpg"}
    for values in pairs(tmp_path / "out"):
        np.testing.assert_allclose(distances(values), estimated_m(folder / names[values["scene"]]), rtol=1e-3)
    cached = {str(path.relative_to(tmp_path / "out.depth")) for path in (tmp_path / "out.depth").rglob("*.npy")}
    assert cached == {"a.npy", "b.npy", "sub/c.npy", "d.npy"}


def test_manifest_names_the_network_and_is_json_to_the_letter(run, sum_net, tmp_path):
    run()
    kept = manifest.load(tmp_path / "out").reading
    assert kept["model"]["sha256"] == hashlib.sha256(sum_net().read_bytes()).hexdigest()
    assert (kept["model"]["values"], kept["model"]["short_side"]) == ("plane", 24)
    assert not {"batch", "threads"} & set(kept["model"])
    for name in (manifest.MANIFEST, "croissant.json"):
        json.loads((tmp_path / "out" / name).read_text(), parse_constant=pytest.fail)


def test_second_run_reuses_the_maps(run, tmp_path, monkeypatch):
    run()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out.depth").rglob("*.npy")}
    monkeypatch.setattr(depth_source.network, "load", lambda options: pytest.fail("nothing is left to estimate"))
    assert run().reused == len(list((tmp_path / "out").glob("*.tfrecord")))
    shutil.rmtree(tmp_path / "out")
    run()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out.depth").rglob("*.npy")} == times


@pytest.mark.parametrize("model", [{"batch": 3}, {"threads": 2}, {"threads": None, "batch": 16}])
def test_batch_and_threads_change_no_byte_and_stop_no_resumed_run(run, tmp_path, monkeypatch, model):
    run()
    reference = contents(tmp_path / "out")
    run(model=model, out=tmp_path / "other")
    assert contents(tmp_path / "other") == reference
    done = []

    def stop(task, report):
        if done:
            raise KeyboardInterrupt
        done.append(task)
        return build(task, report)

    shutil.rmtree(tmp_path / "out")
    with monkeypatch.context() as patch:
        build = make.build_shard
        patch.setattr(make, "build_shard", stop)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert run(model=model).reused == 1
    assert contents(tmp_path / "out") == reference


def test_tasks_of_a_plan_with_estimated_depth_take_the_maps_that_are_there(run, tmp_path, monkeypatch):
    run(out=tmp_path / "whole")
    assert run(plan_only=True).manifest is None
    monkeypatch.setattr(depth_source.estimation, "estimate_folder", lambda *given: pytest.fail("estimated again"))
    for index in (1, 0):
        assert run(task_index=index, num_tasks=2).built == 2
    with pytest.raises(RefusedError, match=r"another plan.*different reading"):
        run(finish=True, model={"short_side": 12})
    assert run(finish=True).manifest.inputs["used"] == 4
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_estimated_depth_needs_a_disk_for_its_maps(run):
    with pytest.raises(UsageError, match=r"--out of a run that estimates depth has to lie on a disk"):
        run(out=stores.place("s3://bucket/out"))


def test_maps_of_another_network_are_refused(run, sum_net, tmp_path):
    run()
    with pytest.raises(RefusedError, match=r"holds the depth maps of another network.*received sha256: "):
        run(file=sum_net(3.0))
    with pytest.raises(RefusedError, match=r"another network.*received short_side: 24 before, 12 now"):
        run(model={"short_side": 12})
    shutil.rmtree(tmp_path / "out.depth")
    with pytest.raises(RefusedError, match=r"dataset of another plan.*received a different reading"):
        run(file=sum_net(3.0))


def test_photo_without_a_map_is_rejected_with_the_networks_reason(command, folder, sum_net, tmp_path):
    (folder / "b.png").write_text("no picture")
    (folder / "sub/c.png").write_bytes(images.encode(np.full((24, 36, 3), 9, np.uint8), ".png"))
    out = tmp_path / "out"
    status, printed, error = command(*words_of(folder, sum_net(), out, "--model.values", "plane"))
    assert status == 3
    assert "inputs: 4 found = 2 used + 2 rejected (2 depth-model)" in printed
    assert "2 of 4 inputs were rejected" in error
    rows = rows_of(out)
    assert "'b.png' is not a picture that can be read" in rows["b"]["reason"]
    assert "The network gives no depth for the photo. Expected near and far, received 1." in rows["sub/c"]["reason"]
    assert {key: row["code"] for key, row in rows.items()} == {
        "a": "",
        "d": "",
        "b": "depth-model",
        "sub/c": "depth-model",
    }


def test_photos_of_which_none_gets_a_map_are_refused(run, folder):
    for path in folder.rglob("*.*g"):
        path.write_text("no picture")
    with pytest.raises(
        RefusedError,
        match=r"No scene to use. Expected images in '.*photos', received 4 inputs, 4 of them rejected; first reason: "
        r"'.*' is not a picture.* Check the folders, --image-pattern\.$",
    ):
        run()


def test_dry_run_writes_nothing_and_says_what_would_be_rejected(command, folder, sum_net, tmp_path):
    net = sum_net()
    before = contents(tmp_path)
    words = words_of(folder, net, tmp_path / "out", "--model.values", "plane", "--dry-run")
    status, printed, error = command(*words)
    assert (status, error) == (0, "")
    assert "4 found, 0 rejected" in printed
    assert "4 pairs" in printed
    for path in folder.rglob("*.*g"):
        path.write_bytes(images.encode(np.full((24, 36, 3), 9, np.uint8), path.suffix))
    status, printed, _ = command(*words)
    assert status == 3
    assert printed.count("rejected    The network gives no depth for the photo") == 3  # the probed ones
    assert set(contents(tmp_path)) == set(before)


def test_dry_run_looks_at_the_maps_of_the_network_too(run, folder, sum_net, tmp_path):
    net = sum_net(2000.0)  # a network of centimetres, say
    options = MakeOptions(images=folder, out=tmp_path / "out", depth_model=net, splits="train=1", variants=1)
    model = ModelOptions(net, values="plane", short_side=24, threads=1)
    with pytest.raises(RefusedError, match="The depth maps are not what they are said to be: unit"):
        estimate(options, PLANE, model)
    told = []
    assert estimate(dataclasses.replace(options, trust_depth=True), PLANE, model, told.append).pairs == 4
    assert any(text.startswith("unit: ") for text in told)
    with pytest.raises(RefusedError, match="The depth maps are not what they are said to be: unit"):
        run(file=net)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dry", [False, True])
def test_relative_output_needs_near_and_far_before_the_network_runs(run, folder, sum_net, tmp_path, dry):
    def attempt(**given):
        if not dry:
            return run(values="relative", **given)
        options = MakeOptions(images=folder, out=tmp_path / "out", depth_model=sum_net(), **given)
        return estimate(options, PLANE, ModelOptions(sum_net(), values="relative", short_side=24))

    for given in ({}, {"near": 2.0}, {"far": 80.0}):
        with pytest.raises(UsageError, match=r"Relative depth has no metres of its own.*Pass --near and --far"):
            attempt(**given)
        assert not (tmp_path / "out.depth").exists()
    run(values="relative-inverse", near=2.0, far=80.0)
    for values in pairs(tmp_path / "out"):
        found_m = distances(values)
        assert (found_m.min(), found_m.max()) == (pytest.approx(2.0, rel=1e-3), pytest.approx(80.0, rel=0.02))


def test_zero_of_a_network_is_a_number_and_no_hole(run, folder, sum_net, tmp_path):
    """An inverse depth of 0 is infinitely far."""
    for path in folder.rglob("*.png"):
        pixels = images.read_picture(path)
        pixels[:9] = 0
        path.write_bytes(images.encode(pixels, ".png"))
    run(file=sum_net(2.0, 0.0), values="inverse")
    for values in pairs(tmp_path / "out"):
        transmission = images.decode(values["transmission"], "transmission")
        assert (transmission[:9] == 0).all() == (values["scene"] != "d")
        assert (transmission[9:] > 0).all()


def test_relative_output_is_fitted_to_sparse_points(run, folder, tmp_path):
    for name in ("a", "b", "sub/c", "d"):
        photo = next(folder.glob(f"{name}.*"))
        sparse = np.full((24, 36), np.nan, np.float32)
        sparse[::3, ::3] = (7.0 / estimated_m(photo))[::3, ::3]
        write(tmp_path / f"sparse/{name}.npy", sparse)
    run(values="relative-inverse", sparse=tmp_path / "sparse")
    for values in pairs(tmp_path / "out"):
        photo = next(folder.glob(f"{values['scene']}.*"))
        np.testing.assert_allclose(distances(values), 7.0 / estimated_m(photo), rtol=0.01)


def test_depth_entry_of_a_camera_file_is_not_about_estimates(run, folder, tmp_path):
    """Camera files of photos that have maps elsewhere say what those maps hold."""
    camera = {"width": 36, "height": 24, "fx": 30.0, "fy": 30.0, "cx": 17.5, "cy": 11.5}
    entry = {"values": "ray", "unit_m": 0.001, "no_surface": 65535}
    (tmp_path / "camera.json").write_text(json.dumps(camera | {"depth": entry}))
    run(dataclasses.replace(PLANE, path="ray"), camera=tmp_path / "camera.json")
    x, y = (np.arange(36) - 17.5) / 30, (np.arange(24) - 11.5) / 30
    rays = np.sqrt(1 + x[None, :] ** 2 + y[:, None] ** 2)
    for values in pairs(tmp_path / "out"):
        photo = next(folder.glob(f"{values['scene']}.*"))
        np.testing.assert_allclose(distances(values), rays * estimated_m(photo), rtol=1e-3)


def test_network_without_a_word_on_its_use_is_refused(folder, tmp_path):
    options = MakeOptions(images=folder, out=tmp_path / "out", depth_model=tmp_path / "net.onnx")
    for function in (make.make, estimate):
        with pytest.raises(
            UsageError, match=r"Nobody says how the depth network is used. Expected ModelOptions beside"
        ):
            function(options, PLANE)


@pytest.mark.parametrize("given", [{"depth_values": "plane"}, {"not_measured": "0"}])
def test_what_the_numbers_of_a_network_are_is_said_once(run, tmp_path, given):
    with pytest.raises(UsageError, match=r"said by --model.values.*Expected neither --depth-values nor --not-measured"):
        run(**given)
    assert not (tmp_path / "out.depth").exists()


def test_limit_is_for_the_network_too(run, tmp_path):
    assert run(limit=2).manifest.inputs == {"found": 2, "used": 2, "rejected": 0}
    assert len(list((tmp_path / "out.depth").rglob("*.npy"))) == 2


def test_maps_lie_beside_the_dataset_whatever_its_name(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "data")
    beside = {".": "data.depth", "a/..": "data.depth", "x.y": "data/x.y.depth", "../b": "b.depth"}
    for out, expected in beside.items():
        options = MakeOptions(images=tmp_path, out=Path(out), flat_depth=5.0)
        assert options.depth_folder == options.reading().depth == tmp_path / expected


# --- a look before the work ---


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Eight procedural scenes of 160 x 120 with exact depth."""
    root = tmp_path_factory.mktemp("samples")
    samples.make_samples(root / "s", 8, 3, width=160, height=120)
    return root / "s"


@pytest.fixture
def spoiled(sound, tmp_path):
    """spoiled(change): the folder with depth maps in metres (float32 .npy) changed by a function."""

    def build(change):
        for path in sorted((sound / "depth").iterdir()):
            unit = json.loads((sound / "camera" / f"{path.stem}.json").read_text())["depth"]["unit_m"]
            raw = images.read_picture(path)
            metres = np.where(raw == 65535, np.inf, raw * unit).astype(np.float32)
            changed = change(metres)
            write(tmp_path / "depth" / f"{path.stem}{'.npy' if changed.ndim == 2 else '.png'}", changed)
        return MakeOptions(
            images=sound / "images", depth=tmp_path / "depth", out=tmp_path / "out", variants=1, workers=1
        )

    return build


def in_false_colors(metres):
    gray = np.rint(255 * np.clip(metres / 50.0, 0, 1)).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(gray, cv2.COLORMAP_JET)[..., ::-1])


SPOILED = {
    "inverted": lambda metres: (100.0 / np.where(np.isinf(metres), 1000.0, metres)).astype(np.float32),
    "constant": lambda metres: np.full_like(metres, 7.0),
    "unit": lambda metres: np.where(np.isinf(metres), metres, metres * 1000.0).astype(np.float32),
    "false-color": in_false_colors,
}


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize("code", SPOILED)
def test_maps_that_cannot_be_are_refused_by_name_and_trusted_on_demand(command, spoiled, tmp_path, code, dry):
    options = spoiled(SPOILED[code])
    words = ["make", "--images", options.images, "--depth", options.depth, "--out", options.out, "--variants", 1]
    words += ["--workers", 1, *(["--dry-run"] if dry else [])]
    status, _, error = command(*words)
    assert status == 3
    assert f"error: The depth maps are not what they are said to be: {code}. " in error
    assert (
        f'"hazegen inspect --images {options.images} --depth {options.depth}" shows them; --trust-depth goes' in error
    )
    assert not options.out.exists()
    status, printed, error = command(*words, "--trust-depth")
    if code == "false-color":  # no map at all: each scene is rejected with its reason
        assert status == 3
        assert "has lost its depth" in error + printed
    else:
        assert status == 0
        assert f"warning: {code}: " in error
        assert options.out.exists() == (not dry)


@pytest.mark.parametrize("dry", [False, True])
def test_sound_folder_is_passed_without_a_warning(command, sound, tmp_path, dry):
    words = ["make", "--images", sound / "images", "--depth", sound / "depth", "--camera", sound / "camera"]
    words += ["--out", tmp_path / "out", "--recipe", "outdoor-visibility", "--variants", 1, "--workers", 1]
    status, _, error = command(*words, *(["--dry-run"] if dry else []))
    assert (status, error) == (0, "")


def test_look_is_over_the_first_scenes_and_not_taken_where_there_are_no_maps(spoiled, monkeypatch):
    options = spoiled(SPOILED["constant"])
    plan = planning.plan(options, PLANE)
    looked = []
    monkeypatch.setattr(
        depth_source.look, "read_samples", lambda refs, reading: [looked.append(ref.key) for ref in refs][:0]
    )
    depth_source.check_depth(plan, options, pytest.fail)
    depth_source.check_depth(plan, options, pytest.fail, 3)
    keys = [ref.key for ref in plan.scenes]
    assert looked == keys + keys[:3]
    assert len(keys) == 8 <= depth_source.LOOKED_AT
    reading = dataclasses.replace(plan.settings.reading, flat_m=5.0)
    flat = dataclasses.replace(plan, settings=dataclasses.replace(plan.settings, reading=reading))
    looked.clear()
    depth_source.check_depth(flat, options, pytest.fail)
    assert looked == []


def test_faults_that_reject_single_scenes_do_not_stop_the_others(spoiled):
    numbers = iter(range(8))

    def spoil(metres):
        number = next(numbers)
        if number < 3:
            return metres[:50]  # another size
        return np.full_like(metres, np.nan) if number < 5 else metres

    made = make.make(spoiled(spoil), PLANE, tell=pytest.fail)
    assert made.rejected == {"size": 3, "holes": 2}
    assert made.manifest.inputs["used"] == 3


def test_path_with_a_space_is_quoted_in_the_advice(spoiled, tmp_path):
    options = spoiled(SPOILED["constant"])
    moved = shutil.move(options.depth, tmp_path / "my depth")
    with pytest.raises(RefusedError, match=r"--depth '.*/my depth'\" shows them"):
        make.make(dataclasses.replace(options, depth=moved), PLANE)


def test_finished_dataset_is_not_looked_at_again(spoiled):
    options = dataclasses.replace(spoiled(SPOILED["constant"]), trust_depth=True)
    made = make.make(options, PLANE, tell=lambda text: None)
    assert make.make(dataclasses.replace(options, trust_depth=False), PLANE, tell=pytest.fail).reused == len(
        made.manifest.shards
    )


def test_file_that_is_no_network_leaves_no_folder(run, tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(RefusedError):
        run(file=tmp_path / "bad.onnx")
    assert not (tmp_path / "out.depth").exists()


def test_taken_output_is_refused_before_the_network_runs(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(RefusedError, match="is not empty"):
        run()
    assert not (tmp_path / "out.depth").exists()
