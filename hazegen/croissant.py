"""A dataset in the words of MLCommons Croissant, for data search engines and loaders that know the format.

References:
    Croissant 1.1 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html) and Croissant RAI 1.0
    (https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html).
"""

from collections.abc import Mapping
from typing import Any

from hazegen.build import COLUMNS
from hazegen.manifest import INPUTS, MANIFEST, SPLITS, Manifest, digest
from hazegen.recipe import Draw, Recipe
from hazegen.records import TABLES

CROISSANT = "croissant.json"
TFRECORD = "application/x-tfrecord"
TERMS = (
    "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileProperty", "fileObject",
    "fileSet", "format", "includes", "isArray", "arrayShape", "isLiveDataset", "jsonPath", "key", "md5",
    "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator",
    "source", "subField", "transform",
)  # fmt: skip
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    **{term: f"cr:{term}" for term in TERMS},
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "name": {"@container": "@language"},
    "description": {"@container": "@language"},
}
MEANINGS = {
    "key": "name of the scene",
    "image": "file of the photo, within the folder of photos",
    "depth": "file of the depth map, within the folder of depth maps",
    "split": "train, validation or test; empty where rejected",
    "fate": "used or rejected",
    "code": "kind of the reason for which it was rejected",
    "reason": "why it was rejected, in a sentence",
    "depth_kind": "convention that the depth file was read by",
    "depth_values": "what its numbers are: plane depth, distance along the ray, disparity, ...",
    "depth_unit": "metres in one unit of the depth file; pixels for disparity",
    "holes": "share of pixels without a measured depth",
    "sky": "share of pixels without a surface",
    "largest_m": "largest finite depth [m]",
    "image_digest": "SHA-256 of the photo's size and of 64 KiB at its begin, middle and end",
    "depth_digest": "the same of the file with its depth; empty where there is none",
    "mask_digest": "the same of the file that says which depths are valid; empty where there is none",
    "sparse_digest": "the same of the sparse map that its scale was fitted to; empty where there is none",
    "camera_digest": "SHA-256 of the file with its intrinsics; empty where there is none",
}
NUMBERS = ("depth_unit", "holes", "sky", "largest_m")


def croissant(known: Manifest, name: str, beside: Mapping[str, tuple[int, str]]) -> dict[str, Any]:
    """The Croissant metadata (JSON-LD) of a dataset; its files are named relative to the file itself.

    No date of publication: it would differ each time the same dataset is made.

    Args:
        name: Of the dataset, in letters, digits, '-', '_' and '.'.
        beside: Bytes and SHA-256 of manifest.json, which comes first, and of inputs.csv.
    """
    about = known.about
    stated = {"license": license_url(about.license), "citeAs": about.citation, "isBasedOn": about.source}
    formats = {MANIFEST: "application/json", INPUTS: "text/csv"}
    files = [_file(one, formats[one], *told) for one, told in beside.items()]
    files += [_file(shard.name, TFRECORD, shard.bytes, shard.sha256) for shard in known.shards]
    splits = [split for split in SPLITS if known.records_of(split)]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": name,
        "description": describe(known),
        "url": "README.md",
        "version": f"{known.schema_version}.0.0+{digest(known)[:12]}",
        "keywords": ["haze", "fog", "dehazing", "image restoration", "synthetic"],
        **{term: text for term, text in stated.items() if text},
        "distribution": files + [_split_files(split) for split in splits],
        "recordSet": [_inputs(), _features(known)],
        **_responsible(known),
    }


def describe(known: Manifest) -> str:
    """What the dataset is, in two sentences."""
    pairs = sum(shard.records for shard in known.shards)
    space = {"srgb": "sRGB-coded values", "linear": "linear light"}[known.color_space]
    path = {"plane": "the depth along the camera's axis", "ray": "the distance along each pixel's ray"}
    unit = {"metres": "metres", "tenths": "tens of metres", "max": "shares of the picture's largest depth"}
    told = (f"{path[recipe['path']]} in {unit[recipe['depth_norm']]}" for recipe in recipes(known))
    lengths = " or ".join(dict.fromkeys(told))
    if known.kind == "scenes":
        return (
            f"{pairs} scenes, each a clean photo J and the distance d of its pixels from its depth map, in TFRecords. "
            "Haze is not stored: it is synthetic, and drawn for them in training: I = J t + A (1 - t) with "
            f"t = exp(-beta d), on {space}, d {lengths}."
        )
    return (
        f"{pairs} pairs of a clean photo J and its hazy image I, of {known.inputs['used']} scenes, in TFRecords. The "
        f"haze is synthetic: I = J t + A (1 - t) with t = exp(-beta d), on {space}, d "
        f"{lengths}, from each scene's depth map."
    )


def recipes(known: Manifest) -> list[dict[str, Any]]:
    """The recipes that the haze of the pairs was drawn by: more than one where a dataset was put together."""
    found: list[dict[str, Any]] = []
    left = [*known.sources] or [{"recipe": known.recipe}]
    while left:
        told = left.pop(0)
        left = [*told.get("sources", ()), *left]
        if not told.get("sources") and told["recipe"] not in found:
            found.append(told["recipe"])
    return found


def variants_text(known: Manifest) -> str:
    """How many pairs a scene has, as '3', or 'up to 3' where some have fewer."""
    scenes = sum(counts["scenes"] for counts in known.splits.values())
    all_of_them = sum(shard.records for shard in known.shards) == scenes * known.variants
    return f"{'' if all_of_them else 'up to '}{known.variants}"


# Effects of haze and of cameras in it, and the fields of a recipe of which any one brings them in.
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "softer shadows": (),
    "blur by multiple scattering": ("scattering_blur",),
    "glow around lamps": ("glow",),
    "noise of a camera in haze": ("shot_noise", "read_noise"),
    "another file's compression": ("jpeg_quality",),
}


def _is_on(recipe: dict[str, Any], name: str) -> bool:
    """Whether a field of the resolved recipe is other than its default."""
    return name in recipe and recipe[name] != Recipe(beta=Draw("values", (1.0,))).as_dict()[name]


def _filling(recipe: dict[str, Any]) -> str:
    """Where the depth of pixels without a measured one comes from."""
    return "from the nearest measured one" if recipe.get("fill") == "nearest" else "along the edges of the photo"


def limits(known: Manifest) -> list[str]:
    """What the recipe leaves out, a sentence each: what results on this dataset cannot show.

    Of a dataset of several recipes, what holds for some of them is marked so.
    """
    several = [_limits(recipe, known) for recipe in recipes(known)]
    told = dict.fromkeys(sentence for sentences in several for sentence in sentences)
    everywhere = {sentence for sentence in told if all(sentence in sentences for sentences in several)}
    return [s if s in everywhere else f"For some of the {known.kind}: {s}" for s in told]


def _limits(recipe: dict[str, Any], known: Manifest) -> list[str]:
    missing = [text for text, fields in LEFT_OUT.items() if not any(_is_on(recipe, name) for name in fields)]
    told = [f"The haze is synthetic. Not in it: {', '.join(missing)}."]
    if not (_is_on(recipe, "noise_contrast") or _is_on(recipe, "height_scale_m")):
        told.append("Within a picture the air is the same everywhere.")
    if not _is_on(recipe, "angstrom_exponent"):
        told.append("One beta serves all three colours.")
    told.append(
        "Errors of the depth maps are errors of the haze; pixels without a measured depth were filled "
        f"{_filling(recipe)}."
    )
    if recipe.get("path") == "plane":
        told.append("d is depth along the camera's axis, not distance along the ray: too short away from the centre.")
    if recipe.get("depth_norm") == "max":
        told.append("d is a share of each picture's largest depth: beta per metre differs from scene to scene.")
    if known.color_space == "srgb":
        told.append("The equation was applied to sRGB-coded values, as in the published sets; light adds up linearly.")
    if recipe.get("sky") == "far":
        told.append("The sky is as far as the farthest surface, where it should be hidden by the haze.")
    if known.codec == "jpeg":
        which = "Both images" if known.kind == "pairs" else "The clean pictures"
        told.append(f"{which} went through JPEG at quality {known.quality}.")
    if known.kind == "scenes":
        told.append("Distances are rounded to 1/65534 of each frame's largest finite one.")
        told.append("These limits are of the recipe of the dataset; another may be given in training.")
    return told


# SPDX identifiers of the licences that Hugging Face knows too, under the same name in lower case.
SPDX = (
    "Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "Unlicense", "WTFPL", "etalab-2.0", "EUPL-1.1", "CC0-1.0",
    "CC-BY-2.0", "CC-BY-2.5", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC-BY-ND-4.0",
    "CC-BY-NC-2.0", "CC-BY-NC-3.0", "CC-BY-NC-4.0", "CC-BY-NC-ND-3.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-2.0",
    "CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0", "CDLA-Sharing-1.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0",
)  # fmt: skip
# Those it knows under another name.
FAMILIES = {"C-UDA-1.0": "c-uda", "ODC-By-1.0": "odc-by", "ODbL-1.0": "odbl", "PDDL-1.0": "pddl"}


def spdx_id(text: str) -> str | None:
    """The SPDX identifier that `text` is, in whatever case, where it is one of a usual data licence."""
    return {name.lower(): name for name in (*SPDX, *FAMILIES)}.get(text.strip().lower())


def license_url(text: str) -> str:
    """The page of the SPDX identifier that `text` is, or `text` itself."""
    known = spdx_id(text)
    return f"https://spdx.org/licenses/{known}.html" if known else text


def _file(name: str, encoding: str, size: int, sha256: str) -> dict[str, Any]:
    fixed = {"@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name}
    return fixed | {"contentSize": f"{size} B", "encodingFormat": encoding, "sha256": sha256}


def _split_files(split: str) -> dict[str, Any]:
    name = f"{split}-shards"
    told = {"name": name, "description": f"The shards of the split '{split}'.", "includes": f"{split}-*.tfrecord"}
    return {"@type": "cr:FileSet", "@id": name, **told, "encodingFormat": TFRECORD}


def _field(record_set: str, name: str, data_type: str, description: str) -> dict[str, Any]:
    fixed = {"@type": "cr:Field", "@id": f"{record_set}/{name}", "name": name}
    return fixed | {"description": description, "dataType": data_type}


def _inputs() -> dict[str, Any]:
    fields = []
    for name in COLUMNS:
        source = {"fileObject": {"@id": INPUTS}, "extract": {"column": name}}
        data_type = "cr:Float64" if name in NUMBERS else "sc:Text"
        fields.append(_field("inputs", name, data_type, MEANINGS[name]) | {"source": source})
    text = "Every photo and depth map that was found, used or rejected, with the reason."
    return {"@type": "cr:RecordSet", "@id": "inputs", "name": "inputs", "description": text, "field": fields}


def feature_rows(known: Manifest) -> list[dict[str, Any]]:
    """Name, type, number of values and meaning of each feature that the records have."""
    has = {"transmission": known.maps, "estimated_light": any(map(_light_is_estimated, recipes(known)))}
    stored = {name: feature for name, feature in TABLES[known.kind].items() if has.get(name, True)}
    return [{"name": name, "type": f.kind, "values": f.size, "meaning": f.meaning} for name, f in stored.items()]


def _light_is_estimated(recipe: dict[str, Any]) -> bool:
    return recipe.get("atmospheric_light") in ("dark-channel", "brightest-far")


def _features(known: Manifest) -> dict[str, Any]:
    """A table of the record's features, written out: a field of Croissant's needs a source that it can read."""
    text = (
        "The features of each record of the shards: name, type, number of values, meaning. A table for people and "
        "tools to read: Croissant itself cannot extract the fields of TFRecords; README.md has the lines that do."
    )
    columns = {"name": "sc:Text", "type": "sc:Text", "values": "cr:Int64", "meaning": "sc:Text"}
    fields = [_field("features", name, data_type, f"{name} of the feature") for name, data_type in columns.items()]
    rows = [{f"features/{column}": value for column, value in row.items()} for row in feature_rows(known)]
    fixed = {"@type": "cr:RecordSet", "@id": "features", "name": "features", "description": text}
    return fixed | {"key": {"@id": "features/name"}, "field": fields, "data": rows}


def _responsible(known: Manifest) -> dict[str, Any]:
    """Croissant's vocabulary for responsible AI."""
    inputs, filled = known.inputs, dict.fromkeys(map(_filling, recipes(known)))
    return {
        "rai:dataCollection": "Photos with depth maps"
        + (f", from {known.about.source}" if known.about.source else "")
        + f": {inputs['found']} found, {inputs['used']} used, {inputs['rejected']} rejected (inputs.csv says why).",
        "rai:dataCollectionType": ["Secondary Data analysis"],
        "rai:dataImputationProtocol": f"Pixels without a measured depth were filled {' or '.join(filled)}.",
        "rai:dataPreprocessingProtocol": [_protocol(known)],
        "rai:machineAnnotationTools": [f"hazegen {known.versions.get('hazegen', '')}".strip()],
        "rai:dataUseCases": ["Training and comparing methods that remove haze from photos."],
        "rai:dataLimitations": limits(known),
        "rai:personalSensitiveInformation": ["hazegen keeps photos as they are and does not look for persons in them."],
    }


def _protocol(known: Manifest) -> str:
    if known.kind == "scenes":
        return (
            "Depth maps were turned into the distances of the recipe in manifest.json. Haze is added in training, by "
            "the equation in the description."
        )
    return (
        "Haze is added to each photo by the equation in the description, with the parameters of the recipe in "
        f"manifest.json, {variants_text(known)} times a scene; all variants of a scene are in one split."
    )
