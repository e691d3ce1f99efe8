"""The published conventions of depth maps, in one table."""

import difflib
from dataclasses import dataclass
from typing import Literal

from hazegen.depth.formats import DepthFormat
from hazegen.errors import UsageError

CalibrationKind = Literal["middlebury", "cityscapes"]
HDF5 = (".h5", ".hdf5")


@dataclass(frozen=True)
class Convention:
    """How one data set, renderer or network writes depth.

    Attributes:
        name: Name on the command line.
        what: What it is, in a line.
        format: What the numbers mean.
        suffixes: Suffixes of the depth files.
        image_pattern, depth_pattern: Names of the files beside their key. A pattern with '/' is a path.
        calibration: Kind of the file that holds focal length and baseline.
        mask_pattern: File of the valid pixels (not 0: valid), as a path from the depth folder.
        stack: Whether one file holds many frames, and their photos.
        lidar: Whether a scanner measured it line by line: most pixels are holes.
        sky_is_hole: Whether the files mark the sky as not measured, as they do other pixels; see sky.py.
        stretched: Whether the maps show the whole photo in other proportions.
        source: Where the rule comes from.
        status: What it was tried on: "real: ...", "synthetic" (files that a test makes) or "documentation".
    """

    name: str
    what: str
    format: DepthFormat
    suffixes: tuple[str, ...] = (".png",)
    image_pattern: str = "{key}"
    depth_pattern: str = "{key}"
    calibration: CalibrationKind | None = None
    mask_pattern: str | None = None
    stack: bool = False
    lidar: bool = False
    sky_is_hole: bool = False
    stretched: bool = False
    source: str = ""
    status: str = "documentation"

    @property
    def is_more_than_format(self) -> bool:
        """Whether a scene is read otherwise by this convention than by its format alone."""
        needs_files = self.calibration is not None or self.mask_pattern is not None or self.stack
        return needs_files or self.sky_is_hole or self.stretched


# fmt: off
_TABLE = (
    Convention("custom", "what the options and the camera files say; plane depth in metres otherwise", DepthFormat(),
               (".png", ".pgm", ".pnm", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pfm", ".exr", ".npy",
                ".npz", ".mat", *HDF5),
               status="real: all sets below, by options"),
    Convention("nyu-mat", "NYU Depth v2, the file of all labelled frames (MATLAB 7.3)", DepthFormat(dataset="depths"),
               (".mat",), stack=True, source="toolbox of the data set", status="synthetic"),
    Convention("nyu-png", "NYU Depth v2 as millimetres", DepthFormat(unit=0.001),
               source="readers of BTS and Marigold", status="real: NYU Depth v2 in the version of BTS, 3 frames"),
    Convention("nyu-png-10000", "NYU Depth v2 as tenths of millimetres", DepthFormat(unit=0.0001),
               source="Depth2HHA-python", status="synthetic"),
    Convention("nyu-png-8bit", "NYU Depth v2 cut to 8 bits", DepthFormat(unit=10.0 / 255.0), source="DenseDepth",
               status="real: NYU Depth v2, 440 labelled frames"),
    Convention("kitti", "KITTI depth completion and prediction", DepthFormat(unit=1.0 / 256.0), lidar=True,
               sky_is_hole=True, source="readme of KITTI's depth benchmark", status="real: KITTI, 3 frames"),
    Convention("kitti-disparity",
               "KITTI stereo 2012 and 2015; the focal length is nominal, --focal-px gives the frame's own",
               DepthFormat("disparity", 1.0 / 256.0, focal_px=721.5, baseline_m=0.54), lidar=True,
               sky_is_hole=True, source="readme of KITTI's stereo benchmark", status="real: KITTI 2015, 1 frame"),
    Convention("cityscapes-disparity", "Cityscapes, disparity of stereo matching",
               DepthFormat("disparity", 1.0 / 256.0, offset=-1.0), image_pattern="{key}_leftImg8bit",
               depth_pattern="{key}_disparity", calibration="cityscapes", sky_is_hole=True,
               source="readme of cityscapesScripts", status="synthetic"),
    Convention("middlebury", "Middlebury stereo 2014 and 2021", DepthFormat("disparity", not_measured=()), (".pfm",),
               image_pattern="{key}/im0", depth_pattern="{key}/disp0", calibration="middlebury",
               source="vision.middlebury.edu/stereo",
               status="real: Middlebury 2014 Motorcycle at a quarter of its size"),
    Convention("middlebury-8bit",
               "Middlebury stereo 2001 to 2006; --depth-scale in px by set and size (2003 at a quarter: 0.25)",
               DepthFormat("disparity"), image_pattern="{key}/im2", depth_pattern="{key}/disp2",
               source="vision.middlebury.edu/stereo",
               status="real: Middlebury 2003, 2005 and 2006, 6 scenes, relative"),
    Convention("eth3d", "ETH3D, two-view stereo", DepthFormat("disparity", not_measured=()), (".pfm",),
               image_pattern="{key}/im0", depth_pattern="{key}/disp0GT", calibration="middlebury",
               sky_is_hole=True, source="eth3d.net", status="real: ETH3D playground and terrace"),
    Convention("sceneflow", "SceneFlow (FlyingThings3D, Driving, Monkaa); metres stand for the renderer's units",
               DepthFormat("disparity", not_measured=(), focal_px=1050.0, baseline_m=1.0), (".pfm",),
               source="readme of the data set", status="real: FlyingThings3D, 1 frame"),
    Convention("tum", "TUM RGB-D (freiburg)", DepthFormat(unit=1.0 / 5000.0),
               source="file formats of the TUM RGB-D benchmark", status="real: TUM RGB-D fr1/desk, 3 frames"),
    Convention("icl-nuim", "ICL-NUIM in TUM's format", DepthFormat(unit=1.0 / 5000.0),
               source="the data set's TUM-compatible files", status="real: ICL-NUIM living room, 5 frames"),
    Convention("scannet", "ScanNet and ScanNet++; depth is smaller than the photos", DepthFormat(unit=0.001),
               source="ScanNet's SensReader", status="synthetic"),
    Convention("redwood", "Redwood, and other Kinect maps in millimetres", DepthFormat(unit=0.001), (".png", ".pgm"),
               source="Open3D's RGB-D readers",
               status="real: Redwood, a kitchen and a shelf (tsdf-fusion), rooms as PGM (slambook), 18 frames"),
    Convention("sun-rgbd", "SUN RGB-D and SUN3D: the bits are rotated by 3",
               DepthFormat(unit=0.001, packing="rotated"), source="toolbox of the data set (read3dPoints.m)",
               status="real: SUN RGB-D, 1 frame"),
    Convention("diode", "DIODE, indoors and outdoors", DepthFormat(), (".npy",), depth_pattern="{key}_depth",
               mask_pattern="{key}_depth_mask", sky_is_hole=True, source="diode-devkit", status="synthetic"),
    Convention("make3d", "Make3D: 55 x 305 laser points, of other shape than the photo",
               DepthFormat(dataset="Position3DGrid", channel=3), (".mat",), image_pattern="img-{key}",
               depth_pattern="depth_sph_corr-{key}", stretched=True,
               source="page of the data set; plane or ray is from memory, unconfirmed", status="synthetic"),
    Convention("ibims", "iBims-1; the mask of transparent surfaces is not applied", DepthFormat(unit=50.0 / 65535.0),
               mask_pattern="../mask_invalid/{key}", source="readme of the data set", status="synthetic"),
    Convention("hypersim", "Hypersim: distance along the ray", DepthFormat("ray", dataset="dataset"),
               (".hdf5", ".h5"), image_pattern="{key}.tonemap", depth_pattern="{key}.depth_meters",
               source="ml-hypersim, readme", status="synthetic"),
    Convention("virtual-kitti", "Virtual KITTI 2: centimetres, sky 655.35 m",
               DepthFormat(unit=0.01, no_surface=65535.0), image_pattern="rgb_{key}", depth_pattern="depth_{key}",
               source="page of the data set", status="synthetic"),
    # No surface of these scenes lies beyond 5 km, and the sky sphere is not at one exact distance.
    Convention("tartanair", "TartanAir: the sky sphere stands at about 10 000 m", DepthFormat(no_surface_from=5000.0),
               (".npy",), depth_pattern="{key}_depth", source="tartanair_tools, data_type.md", status="synthetic"),
    Convention("carla", "CARLA, depth camera, R + 256 G + 65536 B",
               DepthFormat(unit=1000.0 / (2**24 - 1), not_measured=(), no_surface_from=2.0**24 - 1, packing="carla"),
               source="CARLA's reference of sensors", status="synthetic"),
    Convention("carla-exr", "CARLA, depth in metres in one channel", DepthFormat(no_surface_from=1000.0), (".exr",),
               source="CARLA's reference of sensors", status="real: one synthetic street"),
    # The render target has half precision, whose largest number is 65504.
    Convention("airsim", "AirSim, DepthPlanar", DepthFormat(no_surface_from=65504.0), (".pfm",),
               source="AirSim's page on image APIs", status="synthetic"),
    Convention("airsim-perspective", "AirSim, DepthPerspective: distance along the ray",
               DepthFormat("ray", no_surface_from=65504.0), (".pfm",), source="AirSim's page on image APIs",
               status="synthetic"),
    Convention("blender", "Blender and BlenderProc, planar depth; the background is 1e8 or more",
               DepthFormat(no_surface_from=1e8), (".exr",),
               source="Blender's manual, passes; the background is from memory, unconfirmed", status="synthetic"),
    Convention("blender-distance", "Blender (Cycles before 2.8) and BlenderProc, distance along the ray",
               DepthFormat("ray", no_surface_from=1e8), (".exr",),
               source="BlenderProc's renderer of distances; the background is from memory, unconfirmed",
               status="synthetic"),
    Convention("megadepth", "MegaDepth: the scale of structure from motion; negative numbers are ordinal labels",
               DepthFormat("relative", dataset="depth", not_measured=(0.0,)), HDF5, source="page of the data set",
               status="synthetic"),
    Convention("depth-pro", "Depth Pro", DepthFormat(dataset="depth"), (".npz",), source="ml-depth-pro, command line",
               status="synthetic"),
    Convention("midas", "MiDaS and DPT: larger is nearer", DepthFormat("relative-inverse", not_measured=()),
               (".pfm", ".png", ".npy"), source="MiDaS, utils.py", status="synthetic"),
    Convention("depth-anything", "Depth Anything 1 and 2, relative networks: larger is nearer",
               DepthFormat("relative-inverse", not_measured=()), (".png", ".npy", ".pfm"),
               source="Depth-Anything-V2, run.py", status="synthetic"),
    Convention("marigold", "Marigold: affine depth in 0..1, larger is farther",
               DepthFormat("relative", not_measured=()), (".npy", ".png"), source="Marigold, readme",
               status="synthetic"),
    Convention("lens-blur", "depth beside phone photos, larger is farther", DepthFormat("relative", not_measured=()),
               (".png", ".jpg", ".jpeg"), depth_pattern="{key}-depth", image_pattern="{key}-image",
               source="five photos looked at", status="real: Google Lens Blur, 5 photos"),
    Convention("transmission", "transmission exp(-beta d) of a hazy set; beta by the camera file",
               DepthFormat("transmission", not_measured=()), (".png", ".npy", ".pfm", ".exr", ".tif"),
               source="scattering equation", status="synthetic"),
)
# fmt: on
CONVENTIONS: dict[str, Convention] = {convention.name: convention for convention in _TABLE}


def find(name: str) -> Convention:
    """The convention of that name.

    Raises:
        UsageError: There is none; the message names those of the nearest names, or all.
    """
    if name in CONVENTIONS:
        return CONVENTIONS[name]
    near = difflib.get_close_matches(name.lower(), CONVENTIONS, n=3, cutoff=0.5) or list(CONVENTIONS)
    raise UsageError(
        f"No depth convention has this name. Expected one of the table, as {', '.join(near)}, received '{name}'. "
        "Correct --depth-kind; docs/depth.md has the table."
    )
