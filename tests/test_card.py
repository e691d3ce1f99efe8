"""The card: what it says, that it is true, and that it is the same wherever and whenever it is written."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from hazegen import card, card_page, images, manifest, preview, records, scene_records
from hazegen.errors import RefusedError, StoreError, UsageError, VerifyError
from hazegen.make import make

SENTENCE = "Free for research, ask | the authors"
BIBTEX = "@misc{photos,\n  title = {Photos},\n  url = {https://example.org/photos}\n}"


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in card.FILES}


def front_matter(folder: Path) -> dict:
    return yaml.safe_load((folder / card.README).read_text().split("---\n")[1])


def section(folder: Path, heading: str) -> str:
    return (folder / card.README).read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0].strip()


def code(folder: Path, number: int) -> str:
    return section(folder, "How to load it").split("```python\n")[1 + number].partition("```")[0]


def test_same_dataset_gives_the_same_bytes_in_any_folder(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    copies = [Path(shutil.copytree(dataset, tmp_path / name)) for name in ("here", "there")]
    for copy in copies:
        card.write_card(copy)
    assert files(copies[0]) == files(copies[1]) == files(dataset)
    assert {path.name for path in copies[0].iterdir()} == {path.name for path in dataset.iterdir()}


def test_nothing_in_the_card_names_the_machines_folders(dataset):
    for name, content in files(dataset).items():
        assert str(dataset.parent).encode() not in content, name
        assert dataset.parent.name.encode() not in content, name


def test_front_matter_is_what_hugging_face_reads(dataset):
    assert front_matter(dataset) == {
        "pretty_name": "Hazy/clean pairs, recipe aod-released",
        "license": "unknown",
        "task_categories": ["image-to-image"],
        "tags": ["haze", "fog", "dehazing", "image-restoration", "synthetic", "tfrecord"],
        "size_categories": ["n<1K"],
        "viewer": False,
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"{split}-*.tfrecord"} for split in manifest.SPLITS],
            }
        ],
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {"license": "unknown"}),
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("cc-by-nc-sa-3.0", {"license": "cc-by-nc-sa-3.0"}),
        ("ODbL-1.0", {"license": "odbl"}),
        (SENTENCE, {"license": "other", "license_name": "free-for-research-ask-the-authors"}),
        ("見る", {"license": "other", "license_name": "unnamed"}),
    ],
)
def test_licence_is_named_as_hugging_face_wants_it(dataset_copy, text, expected):
    card.rewrite(dataset_copy, {"license": text})
    told = front_matter(dataset_copy)
    assert {name: value for name, value in told.items() if name.startswith("license")} == expected


@pytest.mark.parametrize(
    ("pairs", "size"), [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M"), (10**8, "10M<n<100M")]
)
def test_size_category_is_that_of_the_number_of_pairs(dataset, pairs, size):
    known = manifest.load(dataset)
    known = dataclasses.replace(known, shards=(dataclasses.replace(known.shards[0], records=pairs),))
    assert card._front_matter(known)["size_categories"] == [size]


def test_card_says_all_that_the_manifest_knows(dataset):
    known, text = manifest.load(dataset), (dataset / card.README).read_text()
    for name, value in known.recipe.items():
        assert f"| {name} | {'none' if value is None else value} |" in section(dataset, "Recipe")
    assert "| train | 6 | 18 |\n| validation | 3 | 9 |\n| test | 3 | 9 |" in section(dataset, "Splits")
    assert "all hazy images of a scene are in one split" in section(dataset, "Splits")
    assert "| pairs of a scene | 3 |" in section(dataset, "Content")
    assert "put together by" not in text
    assert "I = J t + A (1 - t) with t = exp(-beta d), on sRGB-coded values" in text
    content = section(dataset, "Content")
    assert "12 found = 12 used + 0 rejected" in content
    assert f"{len(known.shards)} TFRecord files, {sum(s.bytes for s in known.shards):,} bytes" in content
    for fact in ("JPEG, quality 95", "| seed | 0 |", f"| schema version | {known.schema_version} |", "64 x 96 pixels"):
        assert fact in content
    assert all(f"{name} {number}" in content for name, number in known.versions.items())
    assert manifest.digest(known) in content
    assert "`hazegen verify .`" in content
    for name, feature in records.FEATURES.items():
        assert (f"| {name} | {feature.size} x {feature.kind} |" in content) == (not feature.optional)
    assert f"({card.PREVIEW})" in text
    assert f"[{card.PAGE}]({card.PAGE}), beside this file" in text


def test_stored_transmission_and_linear_light_are_said(photos, make_options, load_recipe, tmp_path):
    options = make_options(photos, tmp_path / "out", maps=True, codec="png", limit=2, splits="test=1", fov_deg=60.0)
    recipe = load_recipe("outdoor-visibility", color_space="linear")
    make(options, dataclasses.replace(recipe, name="a|b\nc"))
    content = section(options.out, "Content")
    assert "| transmission | 1 x bytes |" in content
    assert "PNG (lossless)" in content
    text = (options.out / card.README).read_text()
    assert "on linear light, d the distance along each pixel's ray in metres" in text
    assert "| name | a\\|b c |" in text
    assert "too short away from the centre" not in text
    assert "JPEG" not in section(options.out, "Limits of use")
    assert [row["split"] for row in front_matter(options.out)["configs"][0]["data_files"]] == ["test"]


def test_picture_is_the_contact_sheet_of_twelve_pairs(dataset, tmp_path):
    preview.preview(dataset, tmp_path / "sheet.jpg", 12)
    assert (dataset / card.PREVIEW).read_bytes() == (tmp_path / "sheet.jpg").read_bytes()


# --- the lines that load it ---


def stored(folder: Path, split: str) -> list[tuple[np.ndarray, np.ndarray]]:
    shards = manifest.load(folder).shards_of(split)
    values = [records.decode(record) for shard in shards for record in records.read_shard(folder / shard.name)]
    known = manifest.load(folder)
    return [tuple(preview.picture_of(v, name, known) for name in ("hazy", "clean")) for v in values]


def run_code(folder: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.chdir(folder)
    scope: dict = {}
    exec(compile(code(folder, number), "README.md", "exec"), scope)
    return scope


@pytest.mark.parametrize("codec", ["jpeg", "png", "raw"])
def test_lines_of_tensorflow_read_each_pair_as_it_was_written(
    photos, make_options, load_recipe, tmp_path, monkeypatch, codec
):
    options = make_options(photos, tmp_path / "out", codec=codec, limit=4, splits="validation=1", shard_mb=0.03)
    make(options, load_recipe("aod-released"))
    assert len(code(options.out, 1).splitlines()) <= 15
    read = list(run_code(options.out, 1, monkeypatch)["dataset"])
    expected = stored(options.out, "validation")
    assert len(read) == len(expected) == 8
    for pair, own in zip(read, expected, strict=True):
        for picture, pixels in zip(pair, own, strict=True):
            np.testing.assert_array_equal(np.rint(picture.numpy() * 255.0), pixels)


@pytest.mark.parametrize("codec", ["jpeg", "raw"])
def test_lines_of_a_dataset_of_scenes(photos, make_options, load_recipe, tmp_path, monkeypatch, codec):
    options = make_options(
        photos, tmp_path / "out", kind="scenes", variants=None, codec=codec, splits="test=1", limit=3
    )
    make(options, load_recipe("aod-released"))
    shard = manifest.load(options.out).shards[0]
    expected = [records.decode(one, "scenes") for one in records.read_shard(options.out / shard.name)]
    read = list(run_code(options.out, 1, monkeypatch)["dataset"])
    assert len(read) == len(expected) == 3
    for (clean, distance_m), own in zip(read, expected, strict=True):
        pixels = images.decode_stored(own["clean"], codec, 64, 96, "clean")
        np.testing.assert_array_equal(np.rint(clean.numpy() * 255.0), pixels)
        np.testing.assert_array_equal(distance_m.numpy(), scene_records.distances(own))
    batches = list(run_code(options.out, 0, monkeypatch)["batches"])
    assert [(hazy.shape, clean.shape) for hazy, clean in batches] == [((3, 64, 64, 3), (3, 64, 64, 3))]


def test_lines_of_aodnet_give_batches(dataset, monkeypatch):
    assert len(code(dataset, 0).splitlines()) == 6
    batches = list(run_code(dataset, 0, monkeypatch)["train"])
    assert sum(len(batch["hazy"]) for batch in batches) == 18
    assert all(batch[name].shape[1:] == (64, 64, 3) for batch in batches for name in ("hazy", "clean"))


# --- licence, citation, source ---


def test_what_is_not_stated_is_said_to_be_so(dataset):
    assert "not stated: pass --license" in section(dataset, "Licence")
    assert "Source: not stated: pass --source" in section(dataset, "Citation and source")
    assert "Citation: not stated: pass --citation" in section(dataset, "Citation and source")


def test_given_fields_are_kept_and_shown(dataset_copy):
    given = {"license": "cc-by-4.0", "citation": BIBTEX, "source": "https://example.org/photos"}
    known, changed = card.rewrite(dataset_copy, given)
    assert changed == ("license", "citation", "source")
    assert vars(manifest.load(dataset_copy).about) == vars(known.about) == given
    assert "[CC-BY-4.0](https://spdx.org/licenses/CC-BY-4.0.html)" in section(dataset_copy, "Licence")
    told = section(dataset_copy, "Citation and source")
    assert "Source: https://example.org/photos" in told
    assert f"```\n{BIBTEX}\n```" in told
    known, changed = card.rewrite(dataset_copy, {"license": SENTENCE})
    assert changed == ("license",)
    assert (known.about.license, known.about.citation) == (SENTENCE, BIBTEX)
    assert SENTENCE.replace("|", "\\|") in section(dataset_copy, "Licence")


def test_about_decides_no_byte_of_the_shards(dataset, dataset_copy):
    known, _ = card.rewrite(dataset_copy, {"license": "MIT", "source": "x"})
    assert known.shards == manifest.load(dataset).shards
    assert manifest.digest(known) == manifest.digest(manifest.load(dataset))
    assert card.name_of(known) == card.name_of(manifest.load(dataset))
    assert (dataset_copy / manifest.PLAN).read_bytes() == (dataset / manifest.PLAN).read_bytes()


def test_citation_cannot_end_its_own_block(dataset_copy):
    card.rewrite(dataset_copy, {"citation": "a\n```\n# b\n````"})
    assert section(dataset_copy, "Citation and source").endswith("`````\na\n```\n# b\n````\n`````")


def test_url_with_a_secret_changes_nothing(dataset_copy):
    before = files(dataset_copy) | {"m": (dataset_copy / manifest.MANIFEST).read_bytes()}
    with pytest.raises(UsageError, match="A URL in --source names a user"):
        card.rewrite(dataset_copy, {"source": "https://me:hunter2@example.org"})
    assert files(dataset_copy) | {"m": (dataset_copy / manifest.MANIFEST).read_bytes()} == before


# --- what can go wrong ---


@pytest.mark.parametrize("name", card.FILES)
def test_card_without_one_of_its_files_is_no_card(dataset_copy, name):
    assert card.has_card(dataset_copy)
    (dataset_copy / name).unlink()
    assert not card.has_card(dataset_copy)


def test_stop_between_manifest_and_card_is_seen(dataset_copy, monkeypatch):
    monkeypatch.setattr(card, "preview", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        card.rewrite(dataset_copy, {"license": "MIT"})
    assert manifest.load(dataset_copy).about.license == "MIT"
    assert not card.has_card(dataset_copy)


def test_card_that_was_cut_off_is_no_card(dataset_copy, monkeypatch):
    monkeypatch.setattr(card_page, "write_page", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        card.write_card(dataset_copy)
    assert not card.has_card(dataset_copy)


def test_card_of_a_former_manifest_is_no_card(dataset_copy):
    known = manifest.load(dataset_copy)
    manifest.write(dataset_copy, dataclasses.replace(known, about=manifest.About(license="MIT")))
    assert not card.has_card(dataset_copy)
    manifest.write(dataset_copy, known)
    assert card.has_card(dataset_copy)
    for text in ("{", "[]", '{"distribution": []}', "[" * 9999, "\xff"):
        (dataset_copy / card.croissant.CROISSANT).write_text(text, encoding="latin-1")
        assert not card.has_card(dataset_copy)


def test_card_that_cannot_be_written_leaves_a_finished_dataset(
    photos, make_options, load_recipe, tmp_path, monkeypatch
):
    options, recipe = make_options(photos, tmp_path / "out", limit=2, variants=1), load_recipe("aod-released")
    with monkeypatch.context() as patch:
        patch.setattr(card, "preview", lambda *_: (_ for _ in ()).throw(StoreError("The disk is full.")))
        with pytest.raises(StoreError, match=r"is finished, but its card cannot be written. The disk is full\."):
            make(options, recipe)
    assert manifest.load(options.out).inputs["used"] == 2
    assert make(options, recipe).changed == ("card",)
    monkeypatch.setattr(card, "write_card", None)
    assert make(options, recipe).changed == ()


def test_table_of_any_size_is_named_without_being_read(dataset_copy):
    known = manifest.load(dataset_copy)
    os.truncate(dataset_copy / manifest.INPUTS, 2**40)
    assert card._files_beside(dataset_copy, known)[manifest.INPUTS] == (2**40, known.tables[manifest.INPUTS])


def test_card_tells_nothing_of_a_table_that_was_cut(dataset_copy):
    before = files(dataset_copy)
    os.truncate(dataset_copy / manifest.INPUTS, 900)
    with pytest.raises(VerifyError, match=r"inputs.csv' is not what the manifest says: expected SHA-256"):
        card.rewrite(dataset_copy, {})
    assert files(dataset_copy) == before


def test_texts_of_the_user_are_no_html(dataset_copy):
    card.rewrite(dataset_copy, {"license": "<script>1", "source": "<img src=x>"})
    told = section(dataset_copy, "Licence") + section(dataset_copy, "Citation and source")
    assert "&lt;script>1" in told
    assert "&lt;img src=x>" in told
    assert "<" not in told


@pytest.mark.parametrize(("size", "wide"), [((2000, 10), 3), ((5000, 1), 1), ((720, 240), 240), ((64, 96), 240)])
def test_pictures_of_any_shape_fit_into_the_contact_sheet(size, wide):
    framed = preview._framed(np.zeros((*size, 3), np.uint8))
    assert framed.shape[0] == min(preview.TALLEST, round(size[0] * wide / size[1]))
    assert framed.shape[1] == preview.TILE
    assert (framed[:, :wide] == 0).all()
    assert (framed[:, wide:] == 255).all()


def test_dataset_that_is_not_whole_gets_no_card(dataset_copy):
    before = files(dataset_copy)
    shard = manifest.load(dataset_copy).shards[-1]
    (dataset_copy / shard.name).unlink()
    with pytest.raises(VerifyError, match=f"Shard '{shard.name}' is not what the manifest says"):
        card.write_card(dataset_copy)
    (dataset_copy / manifest.MANIFEST).unlink()
    with pytest.raises(RefusedError, match="is no finished dataset"):
        card.write_card(dataset_copy)
    assert files(dataset_copy) == before
