"""Videos, frame by frame, through OpenCV's own copy of FFmpeg. Sound is not kept: OpenCV reads pictures alone."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from aodnet.silence import silence
from hazegen import stores
from hazegen.errors import RefusedError
from hazegen.images import MAX_PIXELS
from hazegen.progress import Steps, counted

# Codec that is written into each container: tried with the wheels of opencv-python-headless, which have no H.264
# encoder (patents). docs/export_models.md has the list.
CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP80"}
SUFFIXES = frozenset(CODECS)
# Their headers count the frames; the number of others is their length times their rate, which sound that is a little
# longer, or a rate that changes, makes too large: their last frame may be so much before it (the lesser of a share and
# a time, and some frames).
EARLY, EARLY_S, EARLY_FRAMES = 0.05, 2.0, 2
COUNTED = (".mp4", ".m4v", ".mov", ".avi")
# What these containers begin with, and where. FFmpeg would also take playlists, which name other files.
_SIGNATURES = (
    (b"ftyp", 4),
    (b"moov", 4),
    (b"mdat", 4),
    (b"wide", 4),
    (b"free", 4),
    (b"AVI ", 8),
    (b"\x1aE\xdf\xa3", 0),
)
RATES = (0.1, 1000.0)

Frame = NDArray[np.uint8]


def restore_video(restore: Callable[[Frame], Frame], path: Path, target: Path) -> str:
    """Writes a video whose frames are `restore` of the frames (height, width, 3; B, G, R) of another.

    Frames of odd height or width get their last row or column twice: the encoders take even sizes alone, and
    OpenCV's writer would cut them off without a word.

    Returns:
        What was done, in words.

    Raises:
        RefusedError: No video, larger than a picture may be, or broken off; then nothing is written.
    """
    with _opened(path) as capture:
        rate, expected = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        temporary = target.with_name(f".{target.stem}.tmp{target.suffix}")
        try:
            frames, size, seconds = _copy(restore, capture, path, temporary, rate, expected)
            _check_complete(path, frames, expected, seconds, rate)
            _check_written(temporary, frames, target)
            stores.publish(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    told = counted(frames, "frame") if frames >= expected else f"{frames} of about {expected} frames"
    return f"{told} of {size[1]} x {size[0]} at {rate:g} a second, {CODECS[target.suffix.lower()]}; no sound."


def _copy(
    restore: Callable[[Frame], Frame], capture: cv2.VideoCapture, path: Path, out: Path, rate: float, expected: int
) -> tuple[int, tuple[int, int], float]:
    """How many frames were written, their height and width, and the time of the last one [s]."""
    writer: cv2.VideoWriter | None = None
    frames, size, seconds = 0, (0, 0), 0.0
    total = expected if expected > 0 else None
    try:
        with Steps(f"restoring {path.name}", total, "frame", leave=False) as steps:
            while (frame := _next(capture, path, frames)) is not None:
                restored = _even(restore(frame))
                if writer is None:
                    size = restored.shape[:2]
                    writer = _writer(out, rate, size)
                if restored.shape[:2] != size:
                    raise _broken(path, f"frames of one size, received another after {frames} frames")
                writer.write(restored)
                frames, seconds = frames + 1, capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
                steps.update()
    finally:
        if writer is not None:
            writer.release()
    return frames, size, seconds


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    if not path.is_file():
        raise RefusedError(f"'{path}' is not a file. Expected a video, received nothing. Check the path.")
    with path.open("rb") as file:
        head = file.read(12)
    begins = f"a file that begins with {head[:8]!r}" if head else "an empty file"
    if not any(head[place : place + len(mark)] == mark for mark, place in _SIGNATURES):
        raise _broken(path, f"MP4, QuickTime, AVI, Matroska or WebM, received {begins}")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet: what it says of damage, the errors here say
    # FFmpeg by name: other readers of OpenCV take patterns of file names and commands.
    capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
    try:
        width, height, rate = (
            capture.get(key) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
        )
        if not capture.isOpened() or width * height < 1:
            raise _broken(path, "frames, received none that can be read: the file is cut off, or damaged")
        if width * height > MAX_PIXELS:
            raise _broken(path, f"at most {MAX_PIXELS:,} pixels a frame, received {width:.0f} x {height:.0f}")
        if not (math.isfinite(rate) and RATES[0] <= rate <= RATES[1]):
            raise _broken(path, f"{RATES[0]:g} to {RATES[1]:g} frames a second, received {rate:g}")
        yield capture
    finally:
        capture.release()


def _next(capture: cv2.VideoCapture, path: Path, frames: int) -> Frame | None:
    try:
        done, frame = capture.read()
    except cv2.error:
        raise _broken(path, f"frames that can be decoded, received {frames} frames and then an error") from None
    return np.asarray(frame, np.uint8) if done else None


def _writer(out: Path, rate: float, size: tuple[int, ...]) -> cv2.VideoWriter:
    code = CODECS[out.suffix.lower()]
    with silence():  # WebM has no tags for codecs, and FFmpeg says so each time
        writer = cv2.VideoWriter(str(out), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), rate, (size[1], size[0]))
    if not writer.isOpened():
        writer.release()
        raise RefusedError(
            f"'{out.suffix}' with the codec {code} cannot be written. Expected an OpenCV with FFmpeg that has it, "
            f"received none for {size[1]} x {size[0]} at {rate:g} a second. Convert the video to .mp4 or .avi."
        )
    return writer


def _even(frame: Frame) -> Frame:
    height, width = frame.shape[:2]
    return np.ascontiguousarray(np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"))


def _check_complete(path: Path, frames: int, expected: int, seconds: float, rate: float) -> None:
    """Refuses what broke off: `seconds` is the last frame's time."""
    early = min(EARLY * expected, EARLY_S * rate) + EARLY_FRAMES
    is_counted = path.suffix.lower() in COUNTED
    if frames == 0 or (frames < expected if is_counted else seconds * rate + early < expected):
        cut_off = f"received {counted(frames, 'frame')}: the file is cut off"
        raise _broken(path, f"{counted(max(expected, 1), 'frame')} as its header says, {cut_off}")


def _check_written(out: Path, frames: int, target: Path) -> None:
    """OpenCV's writer does not say that a disk is full."""
    capture = cv2.VideoCapture(str(out), cv2.CAP_FFMPEG)
    written = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    if written == 0 or (target.suffix.lower() in COUNTED and written != frames):
        raise OSError(f"'{target}' could not be written: {written} of {frames} frames are in the file")


def _broken(path: Path, expected_received: str) -> RefusedError:
    return RefusedError(
        f"'{path.name}' is no video that can be restored. Expected {expected_received}. Repair it, or convert it to "
        ".mp4 or .avi."
    )
