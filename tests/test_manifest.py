"""The manifest: written and read, and every way in which a reader must refuse one."""

import dataclasses
import hashlib
import json
import shutil

import pytest

from hazegen import manifest
from hazegen.errors import RefusedError, UsageError, VerifyError
from hazegen.manifest import About


@pytest.fixture
def edit(dataset, tmp_path):
    """edit(change, sealed=True): a folder with the dataset's manifest after `change(content)`; returns the folder.

    Sealed, it carries the digest of what it says now: only the content itself is wrong.
    """

    def write(change, sealed=True):
        content = json.loads((dataset / manifest.MANIFEST).read_text())
        change(content)
        if sealed:
            content[manifest.SEAL] = manifest.seal(content)
        (tmp_path / manifest.MANIFEST).write_text(json.dumps(content))
        return tmp_path

    return write


def test_manifest_reads_back_as_it_was_written(dataset):
    known = manifest.load(dataset)
    assert known.to_json() == (dataset / manifest.MANIFEST).read_text()
    assert known.schema_version == manifest.SCHEMA_VERSION == 3


def test_manifest_says_what_the_dataset_is(dataset, load_recipe):
    known = manifest.load(dataset)
    assert known.recipe == json.loads(json.dumps(load_recipe("aod-released").as_dict()))
    assert (known.kind, known.seed, known.color_space, known.codec, known.quality) == ("pairs", 0, "srgb", "jpeg", 95)
    assert (known.variants, known.maps, known.smallest) == (3, False, {"height": 64, "width": 96})
    assert known.inputs == {"found": 12, "used": 12, "rejected": 0}
    assert {"hazegen", "numpy", "opencv", "scipy", "machine"} <= set(known.versions)
    assert (known.reading["depth_values"], known.reading["depth_units"]) == (["plane"], [0.001])


def test_counts_of_splits_are_those_of_their_shards(dataset):
    known = manifest.load(dataset)
    assert {split: counts["scenes"] for split, counts in known.splits.items()} == {
        "train": 6,
        "validation": 3,
        "test": 3,
    }
    for split, counts in known.splits.items():
        assert known.records_of(split) == counts["records"] == 3 * counts["scenes"]
        assert all(shard.split == split for shard in known.shards_of(split))
    names = [shard.name for shard in known.shards]
    assert names == sorted(names)
    assert set(names) == {path.name for path in dataset.glob("*.tfrecord")}


def test_nothing_in_a_dataset_names_the_machines_folders(dataset):
    for name in (manifest.MANIFEST, manifest.PLAN, manifest.INPUTS, "README.md", "croissant.json"):
        assert str(dataset.parent) not in (dataset / name).read_text()


def test_unknown_split_is_a_usage_error(dataset):
    with pytest.raises(UsageError, match=r"one of train, validation, test, received 'tset'\. Did you mean 'test'\?"):
        manifest.load(dataset).shards_of("tset")


def test_split_without_records_is_refused_with_the_counts(dataset):
    split = "validation"
    known = manifest.load(dataset)
    emptied = dataclasses.replace(known, shards=tuple(s for s in known.shards if s.split != split))
    with pytest.raises(RefusedError, match=rf"Split '{split}' of the dataset is empty. .*received \{{.*'train': 18"):
        emptied.shards_of(split)


def test_missing_manifest_is_refused(tmp_path):
    with pytest.raises(RefusedError, match=r"is no finished dataset. Expected a manifest.json in it.*Run hazegen make"):
        manifest.load(tmp_path)


@pytest.mark.parametrize("version", [0, 1, 2, "3", None])
def test_other_schema_version_is_refused_and_both_are_named(edit, version):
    with pytest.raises(RefusedError, match=rf"another schema version. Expected 3, received {version}"):
        manifest.load(edit(lambda content: content.update(schema_version=version)))


@pytest.mark.parametrize("name", ["../x.tfrecord", "/etc/passwd", "a/b.tfrecord", "", ".hidden", "a\\b", "x\n", "-a"])
def test_shard_name_that_leads_elsewhere_is_refused(edit, name):
    with pytest.raises(RefusedError, match=r"names a shard that may lie elsewhere. Expected a plain file name"):
        manifest.load(edit(lambda content: content["shards"][0].update(name=name)))


@pytest.mark.parametrize("key", ["shards", "splits", "recipe", "schema_version", "about", "sources"])
def test_manifest_without_one_of_its_entries_is_refused(edit, key):
    with pytest.raises(RefusedError, match=r"cannot be read. Expected the manifest that hazegen make wrote"):
        manifest.load(edit(lambda content: content.pop(key)))


def test_manifest_with_an_unknown_entry_is_refused(edit):
    with pytest.raises(RefusedError, match=r"cannot be read.*TypeError.*surprise"):
        manifest.load(edit(lambda content: content.update(surprise=1)))


@pytest.mark.parametrize(
    ("field", "value"), [("name", 7), ("bytes", "many"), ("records", None), ("records", 2.5), ("records", -1)]
)
def test_shard_entry_of_another_type_is_refused(edit, field, value):
    with pytest.raises(RefusedError, match=r"(cannot be read|names a shard).*[Ee]xpected"):
        manifest.load(edit(lambda content: content["shards"][0].update({field: value})))


@pytest.mark.parametrize("content", ["", "{", "[]", "7", "null", '{"schema_version": 3, "shards": 3}', "\x00"])
def test_file_that_is_no_manifest_is_refused(tmp_path, content):
    (tmp_path / manifest.MANIFEST).write_text(content)
    with pytest.raises(RefusedError, match=r"manifest.json' cannot be read. Expected the manifest.*Run hazegen repair"):
        manifest.load(tmp_path)


def test_manifest_that_was_cut_off_is_refused(dataset, tmp_path):
    shutil.copy(dataset / manifest.MANIFEST, tmp_path)
    data = (tmp_path / manifest.MANIFEST).read_bytes()
    (tmp_path / manifest.MANIFEST).write_bytes(data[: len(data) // 2])
    with pytest.raises(RefusedError, match="cannot be read"):
        manifest.load(tmp_path)


# --- its own digest, and those of the tables beside it ---


def each_field(content, path=()):
    """Path of each value of a manifest that is no mapping or list of mappings."""
    for name, value in content.items():
        if isinstance(value, dict) and value:
            yield from each_field(value, (*path, name))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield from each_field(value[0], (*path, name, 0))
        else:
            yield (*path, name)


def edit_field(content, path):
    for name in path[:-1]:
        content = content[name]
    old = content[path[-1]]
    content[path[-1]] = not old if isinstance(old, bool) else old + 1 if isinstance(old, int | float) else f"{old}x"


def test_every_field_is_under_the_digest(dataset, edit):
    paths = list(each_field(json.loads((dataset / manifest.MANIFEST).read_text())))
    assert len(paths) > 60
    for path in paths:
        folder = edit(lambda content, path=path: edit_field(content, path), sealed=False)
        message = "another schema version" if path == ("schema_version",) else "manifest.json' was edited or damaged"
        with pytest.raises(RefusedError, match=message):
            manifest.load(folder)


def test_edited_manifest_is_refused_and_says_what_to_do(edit):
    with pytest.raises(
        RefusedError,
        match=r"was edited or damaged. Expected the content whose SHA-256 it carries, [0-9a-f]{12}..., received "
        r"[0-9a-f]{12}.... Run hazegen repair .*hazegen card",
    ):
        manifest.load(edit(lambda content: content["about"].update(license="MIT"), sealed=False))


def test_manifest_without_its_digest_is_refused(edit):
    with pytest.raises(RefusedError, match=r"cannot be read.*KeyError: 'digest'.*Run hazegen repair"):
        manifest.load(edit(lambda content: content.pop("digest"), sealed=False))


def test_layout_of_the_file_is_no_part_of_its_digest(edit, dataset):
    assert manifest.load(edit(lambda content: None, sealed=False)) == manifest.load(dataset)


@pytest.mark.parametrize("tables", [{}, {"inputs.csv": "0"}, {"inputs.csv": "0", "plan.jsonl": "0", "x": "0"}, None])
def test_other_tables_are_refused(edit, tables):
    with pytest.raises(RefusedError, match=r"cannot be read. Expected"):
        manifest.load(edit(lambda content: content.update(tables=tables)))


def test_writing_takes_the_digests_of_the_tables_beside_it(dataset_copy):
    known = manifest.load(dataset_copy)
    for name in manifest.TABLES:
        assert known.tables[name] == hashlib.sha256((dataset_copy / name).read_bytes()).hexdigest()
    (dataset_copy / manifest.PLAN).write_text("{}\n")
    written = manifest.write(dataset_copy, known)
    assert written == manifest.load(dataset_copy) != known
    assert written.tables[manifest.PLAN] == hashlib.sha256(b"{}\n").hexdigest()


def test_dataset_of_others_reads_back_as_it_was_written(dataset_copy):
    known = manifest.load(dataset_copy)
    put_together = dataclasses.replace(
        known, also_made_with=({"numpy": "1"},), sources=({"digest": "0" * 64, "seed": 7, "reading": {"unit": 0.1}},)
    )
    assert manifest.write(dataset_copy, put_together) == put_together == manifest.load(dataset_copy)


@pytest.mark.parametrize("name", manifest.TABLES)
@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: path.unlink(), "expected a file, received none"),
        (lambda path: path.write_bytes(b""), "expected SHA-256 [0-9a-f]{12}..., received e3b0c44298fc..."),
        (lambda path: path.write_bytes(path.read_bytes() + b"\n"), "expected SHA-256"),
        (lambda path: (path.unlink(), path.mkdir()), "expected a file, received none"),
    ],
)
def test_damaged_table_is_told(dataset_copy, name, damage, problem):
    known = manifest.load(dataset_copy)
    assert manifest.damaged_tables(dataset_copy, known) == {}
    manifest.check_tables(dataset_copy, known)
    damage(dataset_copy / name)
    assert list(manifest.damaged_tables(dataset_copy, known)) == [name]
    with pytest.raises(VerifyError, match=f"{name}' is not what the manifest says: {problem}.*Run hazegen repair"):
        manifest.check_tables(dataset_copy, known)


def test_digest_is_of_the_content(dataset):
    known = manifest.load(dataset)
    assert manifest.digest(known) == manifest.digest(manifest.Manifest(**vars(known)))
    assert manifest.digest(known) == manifest.digest(dataclasses.replace(known, about=About(license="MIT")))
    changed = dataclasses.replace(known.shards[0], sha256="0" * 64)
    assert manifest.digest(known) != manifest.digest(dataclasses.replace(known, shards=(changed, *known.shards[1:])))


# --- licence, citation, source ---


def test_about_reads_back_as_it_was_written(edit):
    about = {"license": "CC-BY-4.0", "citation": "@misc{a,\n title={\u96fe}}", "source": "https://example.org/a@b"}
    known = manifest.load(edit(lambda content: content.update(about=about)))
    assert vars(known.about) == about
    assert json.loads(known.to_json())["about"] == about


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"license": 7}, "TypeError: expected license to be text, received int"),
        ({"source": None}, "TypeError: expected source to be text, received NoneType"),
        ({"citation": ["a"]}, "TypeError: expected citation to be text, received list"),
        ({"licence": "MIT"}, "TypeError: .*unexpected keyword argument 'licence'"),
        ({"source": "https://me:hunter2@host"}, "UsageError: A URL in --source names a user"),
        (None, "TypeError"),
        ("MIT", "TypeError"),
        ([], "TypeError"),
    ],
)
def test_damaged_about_is_refused(edit, about, message):
    with pytest.raises(RefusedError, match=f"cannot be read. Expected the manifest.*{message}") as error:
        manifest.load(edit(lambda content: content.update(about=about)))
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("field", ["license", "citation", "source"])
@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2@example.org/photos",
        "https://hunter2@example.org",
        "HTTPS://me:hunter2@example.org:443/a?b#c",
        "s3://key:hunter2@bucket/photos",
        "https://me:hunter2/@example.org",
        "https://me:a?hunter2#b@example.org",
        "https://me:a@hunter2@example.org",
        "https://:hunter2@example.org",
        "see https://example.org/a and @misc{a, url = {https://me:hunter2@example.org}}",
    ],
)
def test_url_with_a_user_is_refused_and_not_repeated(field, url):
    with pytest.raises(UsageError, match=rf"A URL in --{field} names a user, perhaps with a secret. Expected") as error:
        About(**{field: url})
    assert "hunter2" not in str(error.value)
    assert "example" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/@me",
        "https://example.org:8080/@me",
        "https://example.org:8080?a=b@c",
        "http://[::1]:80/@me",
        "https://example.org, or write to me@example.org",
        "mailto:me@example.org",
        "@misc{a, title={Fog: a@b}}",
        "",
    ],
)
def test_text_without_a_user_in_a_url_is_taken(text):
    assert About(source=text).source == text
