"""The lines of a card that load its dataset: with aodnet, with TensorFlow alone, and with PyTorch."""

from hazegen.manifest import SPLITS, Manifest

LARGEST_CROP = 256
DECODERS = {
    "jpeg": 'tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")',
    "png": "tf.io.decode_png(data, channels=3)",
    "raw": "tf.reshape(tf.io.decode_raw(data, tf.uint8), [height, width, 3])",
}
_NUMBERS = """\
    spec |= {name: tf.io.FixedLenFeature([], tf.int64) for name in ("height", "width")}
"""
_DISTANCE = """\
    units = tf.cast(tf.io.decode_raw(values["distance"], tf.uint16), tf.float32)
    distance_m = tf.where(units == 65535.0, float("inf"), units * values["distance_unit_m"])
"""


def blocks(known: Manifest) -> list[str]:
    """Sentences and lines of Python, in turn."""
    split = next(split for split in SPLITS if known.records_of(split))
    crop = min(LARGEST_CROP, *known.smallest.values())
    gives = "(hazy, clean) in [0, 1]" if known.kind == "pairs" else "(clean in [0, 1], distance [m])"
    with_aodnet = f"""\
from pathlib import Path
from aodnet import data{", online" if known.kind == "scenes" else ""}
from hazegen import manifest
folder = Path(".")  # where this file lies
sources = [data.Source(folder, manifest.load(folder))]
train = data.training_batches(sources, crop={crop}, batch=8, seed=0, split="{split}")"""
    if known.kind == "scenes":
        with_aodnet += "\nrecipes = online.read_recipes(None, [sources[0].manifest])"
        with_aodnet += "\nbatches = (online.hazy_and_clean(batch, recipes) for batch in train)"
    given = 'batch["hazy"] and batch["clean"]' if known.kind == "pairs" else "(hazy, clean)"
    return [
        f"With aodnet: shuffled windows of {crop} x {crop} pixels, {given} in [0, 1].",
        f"```python\n{with_aodnet}\n```",
        f"With TensorFlow alone: whole pictures, {gives}, in the order of the shards.",
        f"```python\n{_with_tensorflow(known, split)}\n```",
        f"With PyTorch, without TensorFlow: any record by its number, {gives}, channels first. The pictures of a batch "
        "must be of one size: crop them.",
        f"```python\n{_with_torch(known, split)}\n```",
    ]


def _with_tensorflow(known: Manifest, split: str) -> str:
    raw, pairs = known.codec == "raw", known.kind == "pairs"
    size = ', values["height"], values["width"]' if raw else ""
    texts, what = ('("hazy", "clean")', "pair") if pairs else ('("clean", "distance")', "scene")
    more = _NUMBERS if raw or not pairs else ""
    if not pairs:
        more += '    spec["distance_unit_m"] = tf.io.FixedLenFeature([], tf.float32)\n'
    given = f'picture(values["hazy"]{size}), picture(values["clean"]{size})'
    if not pairs:
        given = f'picture(values["clean"]{size}), tf.reshape(distance_m, [values["height"], values["width"]])'
    return f"""\
from pathlib import Path
import tensorflow as tf

def picture(data{", height, width" if raw else ""}):
    return tf.image.convert_image_dtype({DECODERS[known.codec]}, tf.float32)

def {what}(record):
    spec = {{name: tf.io.FixedLenFeature([], tf.string) for name in {texts}}}
{more}    values = tf.io.parse_single_example(record, spec)
{"" if pairs else _DISTANCE}    return {given}

shards = sorted(str(path) for path in Path(".").glob("{split}-*.tfrecord"))  # where this file lies
dataset = tf.data.TFRecordDataset(shards).map({what}, num_parallel_calls=tf.data.AUTOTUNE)"""


def _with_torch(known: Manifest, split: str) -> str:
    scenes = known.kind == "scenes"
    kind = ', "scenes"' if scenes else ""
    more = ", scene_records" if scenes else ""
    both = 'self.picture(values, name) for name in ("hazy", "clean")'
    given = f"tuple({both})"
    if scenes:
        given = 'self.picture(values, "clean"), torch.from_numpy(scene_records.distances(values))'
    return f"""\
from pathlib import Path
import torch
from hazegen import heads, images, manifest, records{more}

class Records(torch.utils.data.Dataset):
    def __init__(self, folder, split="{split}"):
        self.known = manifest.load(folder)
        paths = [folder / shard.name for shard in self.known.shards_of(split)]
        self.places = [(p, h.offset, h.length) for p in paths for h in heads.read_heads(p, kind=self.known.kind)]
    def __len__(self):
        return len(self.places)
    def __getitem__(self, number):
        values = records.decode(heads.read_record(*self.places[number]){kind})
        return {given}
    def picture(self, values, name):
        pixels = images.decode_stored(values[name], self.known.codec, values["height"], values["width"], name)
        return torch.from_numpy(pixels).permute(2, 0, 1) / 255.0

batches = torch.utils.data.DataLoader(Records(Path(".")), batch_size=1, shuffle=True)  # where this file lies"""
