"""The depth doctor's statistics on surfaces worked out by hand, and its findings on procedural scenes."""

import dataclasses
import math
import re
import time
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hazegen import samples
from hazegen.depth import alignment, checks, cues, numbers, pooled
from hazegen.depth.finding import SEVERITIES
from hazegen.depth.formats import DepthFormat, Values
from hazegen.depth.measures import Sample, measure
from hazegen.depth.readers import to_metres
from hazegen.errors import RefusedError

HEIGHT, WIDTH = 120, 160
UNIT = DepthFormat(unit=0.001)


def floor(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Depth of a floor that recedes towards the top: 1 / z is linear, 2 m at the bottom, 6 m at the top."""
    inverse = np.linspace(1 / 6, 1 / 2, height, dtype=np.float32)
    return np.repeat((1.0 / inverse)[:, None], width, axis=1)


# --- the statistics ---


def test_planes_have_the_index_one_and_their_inverse_zero():
    assert cues.plane_index(floor())[0] == pytest.approx(1.0, abs=0.1)
    assert cues.plane_index(1.0 / floor())[0] == pytest.approx(0.0, abs=0.1)
    assert cues.plane_index(8.0 - floor())[0] < -0.3
    assert cues.plane_index(floor().T.copy())[0] == pytest.approx(1.0, abs=0.1)


@given(st.floats(0.001, 1000.0))
def test_the_statistics_know_no_unit(scale):
    depth = floor()
    assert cues.plane_index(depth * np.float32(scale))[0] == pytest.approx(cues.plane_index(depth)[0], abs=0.01)
    assert cues.rise(depth * np.float32(scale)) == pytest.approx(cues.rise(depth))


def test_flat_walls_have_no_index():
    index, segments = cues.plane_index(np.full((HEIGHT, WIDTH), 3.0, np.float32))
    assert math.isnan(index)
    assert segments == 0


def test_rise_is_the_rank_correlation_with_height():
    assert cues.rise(floor()) == pytest.approx(1.0)
    assert cues.rise(floor()[::-1]) == pytest.approx(-1.0)
    assert cues.rise(1.0 / floor()) == pytest.approx(-1.0)
    assert math.isnan(cues.rise(np.full((HEIGHT, WIDTH), 3.0, np.float32)))
    assert math.isnan(cues.rise(np.full((HEIGHT, WIDTH), np.nan, np.float32)))


def test_rise_takes_infinity_for_the_farthest_and_leaves_holes_out():
    depth = floor()
    depth[:30] = np.inf
    depth[40:60] = np.nan
    assert cues.rise(depth) > 0.95
    depth[90:] = np.inf
    assert cues.rise(depth) < 0.5


def test_rise_is_what_scipy_says():
    from scipy.stats import spearmanr

    depth = np.random.default_rng(3).integers(1, 9, (60, 80)).astype(np.float32)
    rows = np.broadcast_to(-np.arange(60)[:, None], depth.shape)
    assert cues.rise(depth) == pytest.approx(spearmanr(depth.ravel(), rows.ravel()).statistic)


def test_wraps_counts_surfaces_that_run_over():
    millimetres = np.rint(floor() * 1000.0).astype(np.int64)
    lower = (millimetres & 255).astype(np.uint8)
    assert cues.wraps(lower, 256) > checks.LARGEST_WRAPS
    assert cues.wraps((millimetres * 20 & 65535).astype(np.uint16), 65536) > checks.LARGEST_WRAPS
    assert cues.wraps(millimetres.astype(np.uint16), 65536) == 0.0


def test_edges_between_near_and_far_do_not_wrap():
    """Neither a box before a wall nor holes (0) and sky (65535) are surfaces that run over."""
    depth = np.random.default_rng(0).integers(1, 65535, (40, 50)).astype(np.uint16)
    assert cues.wraps(depth, 65536) == 0.0
    depth = np.random.default_rng(0).choice([0, 65535], (40, 50)).astype(np.uint16)
    assert cues.wraps(depth, 65536) == 0.0


def test_swapped_bytes_are_told_from_sound_ones_and_from_eight_bits():
    millimetres = np.rint(floor() * 1000.0 + np.arange(WIDTH)).astype(np.uint16)
    assert cues.swapped_bytes(millimetres) < 0.1
    assert cues.swapped_bytes(millimetres.byteswap()) > 5.0
    assert cues.swapped_bytes((millimetres >> 8) << 8) == 0.0
    assert cues.swapped_bytes(floor()) == 0.0


def test_zeros_are_holes_beside_middling_numbers_and_the_far_end_beside_small_ones():
    values = np.rint(1000.0 / floor()).astype(np.uint16)
    hole, far = values.copy(), values.copy()
    hole[60:80, 40:60] = 0
    far[:20] = 0
    assert cues.zeros_in_surfaces(hole)
    assert not cues.zeros_in_surfaces(far)
    assert not cues.zeros_in_surfaces(values)


def test_closing_keeps_the_edge_of_the_object_and_fills_all():
    """A shadow (NaN) beside a near box belongs to the wall behind."""
    depth = np.full((40, 60), 4.0, np.float32)
    depth[10:30, 20:30] = 1.0
    depth[10:30, 30:38] = np.nan
    depth[0] = np.nan
    depth[39] = np.inf
    closed = alignment.close(depth)
    assert (closed[10:30, 30:38] == 4.0).all()
    assert (closed[10:30, 20:30] == 1.0).all()
    assert (closed[0] == 4.0).all()
    assert (closed[39] == alignment.SKY_FACTOR * 4.0).all()
    assert np.isfinite(closed).all()


# --- alignment ---


def boxes(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of random colours and depths before a wall: image and depth."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 128, np.uint8)
    depth = np.full((height, width), 6.0, np.float32)
    for _ in range(12):
        top, left = int(rng.integers(0, height - 30)), int(rng.integers(0, width - 30))
        box = np.s_[top : top + int(rng.integers(8, 30)), left : left + int(rng.integers(8, 30))]
        image[box], depth[box] = rng.integers(0, 256, 3), rng.uniform(1.0, 5.0)
    return image, depth


@pytest.mark.parametrize("turn", alignment.KEEPING)
def test_each_orientation_fits_its_own_image(turn):
    image, depth = boxes()
    # Each of these four undoes itself.
    aligned = alignment.align(image, np.ascontiguousarray(alignment.TURNS[turn](depth)))
    assert aligned is not None
    assert max(aligned.scores, key=aligned.scores.__getitem__) == turn
    assert sorted(aligned.scores) == sorted(alignment.KEEPING)


UNDONE_BY = {"turned by 90 degrees": "turned by 270 degrees", "turned by 270 degrees": "turned by 90 degrees"}


@pytest.mark.parametrize("turn", alignment.SWAPPING)
@pytest.mark.parametrize("width", [HEIGHT, WIDTH])
def test_maps_with_exchanged_sides_are_fitted_too(turn, width):
    image, depth = boxes(width=width)
    aligned = alignment.align(image, np.ascontiguousarray(alignment.TURNS[turn](depth)))
    assert aligned is not None
    assert max(aligned.scores, key=aligned.scores.__getitem__) == UNDONE_BY.get(turn, turn)
    assert (aligned.shifts is not None) == (width == HEIGHT)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (0, 8), (-6, 4), (5, -9)])
def test_a_shift_is_where_the_table_has_its_peak(down, right):
    image, depth = boxes()
    aligned = alignment.align(image, np.roll(depth, (down, right), axis=(0, 1)))
    assert aligned is not None
    assert aligned.shifts is not None
    row, column = np.unravel_index(int(aligned.shifts.argmax()), aligned.shifts.shape)
    # What brings the map back: the opposite shift, in pixels of the working size.
    assert (row - alignment.REACH) * aligned.scale == pytest.approx(-down, abs=1)
    assert (column - alignment.REACH) * aligned.scale == pytest.approx(-right, abs=1)


def test_correlation_is_one_for_equal_edges_and_at_most_one():
    _, depth = boxes()
    gray = np.repeat(np.rint(depth * 40).astype(np.uint8)[..., None], 3, axis=2)
    aligned = alignment.align(gray, depth)
    assert aligned is not None
    assert 0.8 < aligned.scores["same"] <= 1.0
    assert np.abs(aligned.shifts).max() <= 1.0 + 1e-6


@pytest.mark.parametrize(
    "depth",
    [np.full((HEIGHT, WIDTH), np.nan, np.float32), np.full((HEIGHT, WIDTH), np.inf, np.float32), floor(120, 120)],
)
def test_maps_that_cannot_be_compared_are_not(depth):
    assert alignment.align(boxes()[0], depth) is None


def test_sparse_maps_are_not_compared():
    image, depth = boxes()
    depth[np.random.default_rng(0).random(depth.shape) < alignment.MOST_HOLES + 0.05] = np.nan
    assert alignment.align(image, depth) is None


def test_constant_pictures_and_tiny_ones_do_no_harm():
    flat = np.full((HEIGHT, WIDTH, 3), 9, np.uint8)
    assert alignment.align(flat, floor()).scores["same"] == pytest.approx(0.0, abs=1e-3)
    for size in ((1, 1), (2, 3), (9, 300)):
        image, depth = np.zeros((*size, 3), np.uint8), np.ones(size, np.float32)
        found = checks.judge([Sample("a", image, depth, depth, DepthFormat())])
        assert {"constant", "few-files"} <= {one.code for one in found}


STRANGE = {
    "all zero": lambda shape, dtype: np.zeros(shape, dtype),
    "all equal": lambda shape, dtype: np.ones(shape, dtype),
    "largest": lambda shape, dtype: np.full(
        shape, np.finfo(dtype).max if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max, dtype
    ),
    "noise": lambda shape, dtype: np.random.default_rng(1).integers(0, 200, shape).astype(dtype),
    "not numbers": lambda shape, dtype: np.full(shape, np.nan if np.dtype(dtype).kind == "f" else 0, dtype),
    "infinite": lambda shape, dtype: np.full(shape, -np.inf if np.dtype(dtype).kind == "f" else 1, dtype),
    "below 0": lambda shape, dtype: (-(np.arange(np.prod(shape)) % 99).reshape(shape)).astype(dtype),
}


@pytest.mark.parametrize("shape", [(1, 1), (1, 150), (24, 24)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("name", STRANGE)
def test_strange_maps_do_no_harm(shape, dtype, name):
    """Any array is judged without a warning, which would be an error here, whatever it is said to mean."""
    values = STRANGE[name](shape, dtype)
    numbers.summarize([values])
    image = np.zeros((*shape, 3), np.uint8)
    for kind in ("plane", "ray", "disparity", "inverse", "relative", "relative-inverse", "transmission"):
        fmt = DepthFormat(kind, 0.5, focal_px=9.0, baseline_m=1.0, beta=0.1, near_m=1.0, far_m=9.0)
        try:
            with np.errstate(all="ignore"):
                depth_m = to_metres(values, fmt, name)
        except RefusedError:
            depth_m = None
        measured = measure(Sample("a", image, values, depth_m, fmt, "" if depth_m is not None else "refused"))
        found = checks.judge_measured([measured] * pooled.FEWEST_FILES)
        assert not any(math.isnan(one.number) for one in found)


# --- findings ---


@pytest.fixture(scope="module")
def scenes() -> list[Sample]:
    """Twelve procedural scenes, streets with sky and rooms, 160 x 120."""
    found = []
    for index in range(12):
        made = samples.make_sample(3, index, WIDTH, HEIGHT)
        fmt = DepthFormat(unit=made.camera["depth"]["unit_m"], no_surface=65535.0)
        found.append(Sample(made.name, made.image, made.depth, to_metres(made.depth, fmt, made.name), fmt))
    return found


def changed(sample: Sample, values: np.ndarray, fmt: DepthFormat | None = None) -> Sample:
    """The scene with other numbers in its file."""
    fmt = fmt or sample.fmt
    if values.ndim == 3:  # the readers refuse these
        return dataclasses.replace(sample, values=values, depth_m=None, fmt=fmt, problem="not a map of one channel")
    try:
        return dataclasses.replace(sample, values=values, depth_m=to_metres(values, fmt, sample.key), fmt=fmt)
    except RefusedError as error:
        return dataclasses.replace(sample, values=values, depth_m=None, fmt=fmt, problem=str(error))


def codes(found) -> dict[str, str]:
    return {one.code: one.severity for one in found}


def test_sound_scenes_have_notes_alone(scenes):
    assert codes(checks.judge(scenes)) == {"sky": "note"}


def test_nothing_is_found_in_nothing():
    assert checks.judge([]) == []


def holed(sample: Sample) -> np.ndarray:
    values = sample.values.copy()
    values[40:80, 20:100] = 0
    return values


def in_colors(sample: Sample) -> np.ndarray:
    return np.dstack([sample.values >> 8, sample.values & 255, sample.values & 7]).astype(np.uint8)


WRONG = {
    "mirrored": (lambda s: changed(s, s.values[:, ::-1]), "impossible", r"mirrored on the images.*Mirror the maps"),
    "upside-down": (lambda s: changed(s, s.values[::-1]), "impossible", r"upside-down on the images.*PFM"),
    "turned": (lambda s: changed(s, s.values[::-1, ::-1]), "impossible", r"turned on the images.*180 degrees"),
    "transposed": (lambda s: changed(s, s.values.T), "impossible", r"height and width exchanged.*\(160, 120\)"),
    "shifted": (lambda s: changed(s, np.roll(s.values, 8, axis=1)), "unlikely", r"move by about -8 px to the right"),
    "inverted": (
        lambda s: changed(s, np.rint(2e6 / s.values).astype(np.uint16), DepthFormat(unit=0.001)),
        "impossible",
        r"interchanged.*--depth-values disparity",
    ),
    "unit": (
        lambda s: changed(s, s.values, dataclasses.replace(s.fmt, unit=s.fmt.unit * 1000)),
        "impossible",
        r"off by about (1000|5000)\..*--depth-scale",
    ),
    "8-bit": (lambda s: changed(s, (s.values >> 8).astype(np.uint8), UNIT), "impossible", r"cut to 8 bits.*0.255 m"),
    "false-color": (lambda s: changed(s, in_colors(s)), "impossible", r"coloured pictures.*Export the raw"),
    "constant": (lambda s: changed(s, np.full_like(s.values, 700)), "impossible", r"are constant.*less than 1%"),
    "unreadable": (lambda s: changed(s, s.values, DepthFormat()), "impossible", r"cannot be used.*unknown unit"),
    "wrapped": (
        lambda s: changed(s, (s.values.astype(np.int64) * 30 & 65535).astype(np.uint16)),
        "impossible",
        r"run over 65535",
    ),
    "byte-order": (lambda s: changed(s, s.values.byteswap()), "impossible", r"bytes in the other order.*Swap"),
    "zero-holes": (
        lambda s: changed(s, holed(s), dataclasses.replace(s.fmt, not_measured=())),
        "unlikely",
        r"no option declares.*--not-measured 0",
    ),
    "holes": (lambda s: changed(s, holed(s)), "note", r"have holes.*16\.7%"),
    "far-value": (
        lambda s: changed(s, s.values, dataclasses.replace(s.fmt, no_surface=None)),
        "note",
        r"at 65535 in .*--no-surface 65535",
    ),
    "coarse": (lambda s: changed(s, np.maximum(s.values // 1024 * 1024, 1)), "note", r"are coarse.*uint16"),
}


@pytest.mark.parametrize("code", WRONG)
def test_each_mistake_is_found_by_its_name(scenes, code):
    spoil, severity, text = WRONG[code]
    found = {one.code: one for one in checks.judge(spoil(scene) for scene in scenes)}
    assert code in found
    assert found[code].severity == severity
    assert re.search(text, found[code].reason, re.DOTALL), found[code].reason
    assert re.search(r"Expected .+received .+\. [A-Z-]", found[code].reason, re.DOTALL), found[code].reason


def test_the_worst_comes_first(scenes):
    found = checks.judge(changed(scene, holed(scene)[:, ::-1]) for scene in scenes)
    severities = [SEVERITIES.index(one.severity) for one in found]
    assert len(set(severities)) > 1
    assert severities == sorted(severities)


def test_single_bad_files_make_a_set_unlikely_and_are_named(scenes):
    spoiled = [changed(scenes[0], in_colors(scenes[0])), *scenes[1:]]
    (found,) = [one for one in checks.judge(spoiled) if one.code == "false-color"]
    assert found.severity == "unlikely"
    assert found.number == pytest.approx(1 / 12)
    assert f"'{scenes[0].key}'" in found.reason


def test_few_files_are_told_and_not_judged(scenes):
    mirrored = [changed(scene, scene.values[:, ::-1]) for scene in scenes]
    found = codes(checks.judge(mirrored[: pooled.FEWEST_FILES - 1]))
    assert "few-files" in found
    assert "mirrored" not in found
    found = codes(checks.judge(mirrored[: pooled.FEWEST_FILES + 2]))
    assert "few-files" not in found
    assert "mirrored" in found


def test_few_files_give_the_figures(scenes):
    (found,) = [one for one in checks.judge(scenes[:3]) if one.code == "few-files"]
    assert re.search(r"received 3; correlation of edges: same 0\.\d\d, mirrored -?0\.\d\d", found.reason)


def test_maps_of_other_scenes_are_found(scenes):
    others = [dataclasses.replace(one, image=other.image) for one, other in zip(scenes, scenes[5:] + scenes[:5])]  # noqa: B905
    assert codes(checks.judge(others)).get("unrelated") == "unlikely"


def test_far_minus_depth_is_inverted_but_a_picture_upside_down_is_not(scenes):
    rooms = [scene for scene in scenes if scene.key.startswith("room")] * 2
    assert "inverted" in codes(checks.judge(changed(one, 12_000 - one.values) for one in rooms))
    assert "inverted" not in codes(checks.judge(changed(one, one.values[::-1]) for one in rooms))


def test_sizes_that_differ_are_notes_where_the_proportions_agree(scenes):
    half = [changed(scene, np.ascontiguousarray(scene.values[::2, ::2])) for scene in scenes]
    found = codes(checks.judge(half))
    assert found["size"] == "note"
    assert not {"mirrored", "shifted", "unrelated"} & set(found)
    cut = [changed(scene, np.ascontiguousarray(scene.values[:, :100])) for scene in scenes]
    assert codes(checks.judge(cut))["size"] == "unlikely"
    rim = [changed(scene, np.ascontiguousarray(scene.values[3:-3, 3:-3])) for scene in scenes]
    assert alignment.same_proportions(scenes[0].values.shape, rim[0].values.shape)
    assert codes(checks.judge(rim))["size"] == "unlikely"  # no resizing makes these whole


def test_zeros_of_disparity_at_the_top_are_sky_and_no_holes(scenes):
    fmt = DepthFormat("disparity", 0.01, not_measured=(), focal_px=100.0, baseline_m=1.0)
    disparity = np.rint(10_000.0 / floor()).astype(np.uint16)
    sky, hole = disparity.copy(), disparity.copy()
    sky[:30], hole[90:] = 0, 0
    assert "zero-holes" not in codes(checks.judge([changed(scenes[0], sky, fmt)]))
    assert "zero-holes" in codes(checks.judge([changed(scenes[0], hole, fmt)]))


def test_relative_depth_has_no_unit_to_be_wrong(scenes):
    fmt = DepthFormat("relative", near_m=1000.0, far_m=5000.0)
    assert "unit" not in codes(checks.judge(changed(scene, scene.values, fmt) for scene in scenes))


@pytest.mark.parametrize(
    ("median_m", "severity"),
    [(0.01, "impossible"), (0.29, "unlikely"), (0.31, None), (79.0, None), (81.0, "unlikely"), (2100.0, "impossible")],
)
def test_limits_of_the_median(median_m, severity):
    depth = (floor() / np.median(floor()) * median_m).astype(np.float32)
    sample = Sample("a", boxes()[0], depth, depth, DepthFormat())
    assert codes(checks.judge([sample])).get("unit") == severity


@pytest.mark.parametrize(("count", "severity"), [(1, "unlikely"), (2, "impossible"), (5, "impossible")])
def test_few_files_that_all_say_clearly_that_they_are_inverted(scenes, count, severity):
    inverse = (10.0 / floor()).astype(np.float32)
    samples_ = [changed(scene, inverse + np.float32(n), DepthFormat()) for n, scene in enumerate(scenes[:count])]
    (found,) = [one for one in checks.judge(samples_) if one.code == "inverted"]
    assert found.severity == severity
    assert f"{count} file{'s' if count > 1 else ''})" in found.reason


def test_a_single_file_is_inverted_whatever_its_planes_say(scenes):
    """Disparity of a slope whose index of planes is that of depth: rank correlation with height alone is clear."""
    disparity = (floor()[::-1]).astype(np.float32)
    assert cues.plane_index(disparity)[0] > pooled.LARGEST_PLANE
    assert cues.rise(disparity) < pooled.STRONG_RISE
    one = changed(scenes[0], disparity, DepthFormat())
    assert codes(checks.judge([one]))["inverted"] == "unlikely"
    assert "inverted" not in codes(checks.judge([one] * pooled.FEWEST_FILES))


def test_inverted_maps_of_an_unlikely_unit_are_impossible(scenes):
    disparity = (300.0 / floor()).astype(np.float32)
    found = codes(checks.judge([changed(scenes[0], disparity, DepthFormat())]))
    assert (found["inverted"], found["unit"]) == ("impossible", "impossible")


def test_advice_on_inverted_maps_names_options_that_exist(scenes):
    (found,) = [
        one for one in checks.judge([changed(scenes[0], 1.0 / floor(), DepthFormat())]) if one.code == "inverted"
    ]
    named = re.findall(r"--depth-values (.*?),? or the convention", found.reason)
    assert set(re.split(r", | or ", named[0])) <= set(get_args(Values))
    assert "of far minus depth save far minus the numbers anew" in found.reason


def test_rooms_that_are_too_far_are_told_so_without_a_contradiction(scenes):
    """Medians inside the ordinary ones, but nothing near: what was expected is not what was received."""
    rooms = [scene for scene in scenes if scene.key.startswith("room")][:1] * pooled.FEWEST_FILES
    far = [changed(room, room.values, dataclasses.replace(room.fmt, unit=0.01)) for room in rooms]
    (found,) = [one for one in checks.judge(far) if one.code == "unit"]
    median = float(re.search(r"where the median is ([\d.]+) m", found.reason)[1])
    assert checks.DISTANT_M < median < checks.PLAUSIBLE_M[1]
    assert re.search(r"Expected near things too .*received depths that reach over a factor of", found.reason)
    assert f"{checks.PLAUSIBLE_M[0]:g} to {checks.PLAUSIBLE_M[1]:g} m" not in found.reason
    assert re.search(r"by about 10\.", found.reason)


def test_few_levels_of_eight_bits_are_unlikely(scenes):
    values = np.rint(floor() * 10).astype(np.uint8)
    sample = changed(scenes[0], values, DepthFormat(unit=0.1))
    (found,) = [one for one in checks.judge([sample]) if one.code == "8-bit"]
    assert found.severity == "unlikely"
    assert re.search(r"few of their levels.*received 60", found.reason)


def test_lower_bytes_are_found(scenes):
    spoiled = [changed(scene, (scene.values & 255).astype(np.uint8), DepthFormat(unit=0.02)) for scene in scenes]
    (found,) = [one for one in checks.judge(spoiled) if one.code == "8-bit"]
    assert re.search(r"lower bytes of 16-bit maps.*neighbours", found.reason)


def test_judging_is_quick():
    """12 scenes of 640 x 480 took 0.6 s on one core; the limit leaves room for a busy machine."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (480, 640, 3)).astype(np.uint8)
    values = np.rint(floor(480, 640) * 1000 + rng.integers(0, 9, (480, 640))).astype(np.uint16)
    sample = Sample("a", image, values, to_metres(values, UNIT, "a"), UNIT)
    measure(sample)
    began = time.process_time()
    checks.judge([sample] * 12)
    assert time.process_time() - began < 3.0


@pytest.mark.parametrize(
    "fmt",
    [DepthFormat(not_measured=(65535.0,)), DepthFormat(no_surface=1e6), DepthFormat(no_surface_from=1e8)],
)
def test_marks_beyond_half_precision_are_marks_of_no_number(fmt):
    """Blender's background in half precision is infinite; a warning would be an error here."""
    values = np.full((HEIGHT, WIDTH), 3.0, np.float16)
    values[0], values[1] = 65504.0, np.inf
    depth_m = to_metres(values, fmt, "a")
    assert np.isposinf(depth_m[1]).all()
    assert (depth_m[0] == 65504.0).all()
    measured = measure(Sample("a", np.zeros((HEIGHT, WIDTH, 3), np.uint8), values, depth_m, fmt))
    assert measured.raw == (3.0, 3.0, 65504.0)


def test_ordinal_labels_below_a_mark_of_0_are_no_surface_for_the_statistics_either():
    fmt = DepthFormat("relative", not_measured=(0.0,), near_m=1.0, far_m=9.0)
    values = np.linspace(1.0, 2.0, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    values[0] = -2.0
    measured = measure(Sample("a", np.zeros((HEIGHT, WIDTH, 3), np.uint8), values, None, fmt))
    assert measured.raw[0] >= 1.0


@pytest.mark.parametrize(
    ("image", "depth", "resized"),
    [
        ((480, 640), (240, 320), True),
        ((375, 1242), (188, 621), True),
        ((375, 1242), (187, 621), True),
        ((968, 1296), (480, 640), True),  # ScanNet
        ((480, 640), (460, 620), False),  # NYU Depth v2 without its border
        ((240, 320), (240, 200), False),
        ((2272, 1704), (55, 305), False),  # Make3D
        ((480, 640), (640, 480), False),
    ],
)
def test_resized_maps_are_told_from_cropped_ones(image, depth, resized):
    assert alignment.is_resized(image, depth) == resized
