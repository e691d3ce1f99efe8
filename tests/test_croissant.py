"""croissant.json, held against MLCommons' own validator."""

import csv
import dataclasses
import hashlib
import json
import re

import mlcroissant
import pytest

from hazegen import card, croissant, manifest, records
from hazegen.build import COLUMNS
from hazegen.make import make

# rdflib 7.6, which mlcroissant reads JSON-LD with.
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")


@pytest.fixture
def content(dataset):
    return json.loads((dataset / croissant.CROISSANT).read_text())


@pytest.fixture
def licensed(dataset_copy):
    """A dataset with all that the validator recommends but a date."""
    card.rewrite(dataset_copy, {"license": "cc-by-4.0", "citation": "Doe (2020)", "source": "https://example.org"})
    return dataset_copy


def test_validator_finds_no_error_and_misses_the_date_alone(licensed):
    found = mlcroissant.Dataset(jsonld=licensed / croissant.CROISSANT).metadata
    assert found.ctx.issues.errors == set()
    (warning,) = found.ctx.issues.warnings
    assert '"https://schema.org/datePublished" is recommended' in warning
    assert found.ctx.conforms_to == mlcroissant._src.core.context.CroissantVersion.V_1_1
    assert (found.license, found.cite_as) == (["https://spdx.org/licenses/CC-BY-4.0.html"], "Doe (2020)")
    assert found.data_limitations == croissant.limits(manifest.load(licensed))
    assert "from https://example.org: 12 found" in found.data_collection
    content = json.loads((licensed / croissant.CROISSANT).read_text())
    filling = "were filled along the edges of the photo."
    assert content["rai:dataImputationProtocol"] == f"Pixels without a measured depth {filling}"
    assert any(sentence.endswith(filling) for sentence in found.data_limitations)
    assert " 3 times a scene;" in content["rai:dataPreprocessingProtocol"][0]


@pytest.mark.parametrize("maps", [False, True])
def test_validator_finds_no_error_where_nothing_is_stated(photos, make_options, load_recipe, tmp_path, maps):
    options = make_options(photos, tmp_path / "out", limit=2, maps=maps, splits="test=1")
    make(options, dataclasses.replace(load_recipe("reside-its"), name="two words / 雾"))
    found = mlcroissant.Dataset(jsonld=options.out / croissant.CROISSANT).metadata
    assert found.ctx.issues.errors == set()
    assert found.license is None
    assert [node.id for node in found.file_sets] == ["test-shards"]


def without(path):
    """Takes one entry out of the metadata."""

    def take(content):
        *where, last = path
        for step in where:
            content = content[step]
        del content[last]

    return take


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without(["distribution", 0, "sha256"]), "at least one of these properties should be defined"),
        (without(["distribution", 0, "contentUrl"]), '"https://schema.org/contentUrl" is mandatory'),
        (without(["distribution", 0, "encodingFormat"]), '"https://schema.org/encodingFormat" is mandatory'),
        (without(["distribution", -1, "includes"]), '"http://mlcommons.org/croissant/includes" is mandatory'),
        (without(["distribution", 1]), "inputs.csv"),  # that the record set reads
        (without(["recordSet", 0, "field", 0, "dataType"]), "does not specify a valid"),
        (without(["recordSet", 1, "data", 0, "features/name"]), "doesn't have the expected columns"),
    ],
)
def test_validator_finds_what_is_missing(content, spoil, message):
    spoil(content)
    with pytest.raises(mlcroissant.ValidationError) as error:
        mlcroissant.Dataset(jsonld=content)
    assert message.lower() in str(error.value).lower()


def test_inputs_can_be_read_by_it(dataset):
    read = list(mlcroissant.Dataset(jsonld=dataset / croissant.CROISSANT).records("inputs"))
    with (dataset / manifest.INPUTS).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(read) == len(rows) == 12
    for record, row in zip(read, rows, strict=True):
        assert set(record) == {f"inputs/{name}" for name in row}
        assert record["inputs/key"].decode() == row["key"]
        assert record["inputs/split"].decode() == row["split"]
        assert record["inputs/depth_unit"] == float(row["depth_unit"])
        assert record["inputs/image_digest"].decode() == row["image_digest"] != ""


def test_changed_file_is_found_by_it(dataset_copy):
    with (dataset_copy / manifest.INPUTS).open("a") as file:
        file.write("more\n")
    with pytest.raises(mlcroissant.GenerationError) as error:
        list(mlcroissant.Dataset(jsonld=dataset_copy / croissant.CROISSANT).records("inputs"))
    assert "not identical with the reference" in str(error.value.__cause__)


def test_features_are_those_of_the_records(dataset):
    read = list(mlcroissant.Dataset(jsonld=dataset / croissant.CROISSANT).records("features"))
    names = {record["features/name"]: record for record in read}
    assert set(names) == {name for name, feature in records.FEATURES.items() if not feature.optional}
    assert names["beta"]["features/values"] == 3
    assert names["beta"]["features/meaning"] == records.FEATURES["beta"].meaning


def test_every_file_is_named_with_size_and_digest(dataset, content):
    named = {entry["@id"]: entry for entry in content["distribution"] if entry["@type"] == "cr:FileObject"}
    shards = {shard.name for shard in manifest.load(dataset).shards}
    assert set(named) == shards | {manifest.MANIFEST, manifest.INPUTS}
    for name, entry in named.items():
        data = (dataset / name).read_bytes()
        assert entry["contentUrl"] == name
        assert (entry["contentSize"], entry["sha256"]) == (f"{len(data)} B", hashlib.sha256(data).hexdigest())


def test_splits_are_sets_of_files(dataset, content):
    sets = {entry["@id"]: entry for entry in content["distribution"] if entry["@type"] == "cr:FileSet"}
    for split in manifest.SPLITS:
        files = {path.name for path in dataset.glob(sets[f"{split}-shards"]["includes"])}
        assert files == {shard.name for shard in manifest.load(dataset).shards_of(split)}


def test_name_and_version_are_of_the_content(dataset, content):
    digest = manifest.digest(manifest.load(dataset))
    assert content["name"] == f"hazegen-aod-released-{digest[:8]}"
    assert content["version"] == f"{records.SCHEMA_VERSION}.0.0+{digest[:12]}"
    assert "datePublished" not in content


def test_every_column_of_the_inputs_is_described():
    assert tuple(croissant.MEANINGS) == COLUMNS
    assert set(croissant.NUMBERS) <= set(croissant.MEANINGS)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("CC0-1.0", "https://spdx.org/licenses/CC0-1.0.html"),
        (" odbl-1.0 ", "https://spdx.org/licenses/ODbL-1.0.html"),
        ("CC-BY", "CC-BY"),
        ("ask the authors", "ask the authors"),
        ("", ""),
    ],
)
def test_licence_is_a_page_where_it_is_an_spdx_identifier(text, url):
    assert croissant.license_url(text) == url


def test_names_of_licences_are_not_confused():
    names = [name.lower() for name in (*croissant.SPDX, *croissant.FAMILIES)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9.-]+", name) for name in names)
