"""Fills pixels without a measured depth."""

import numpy as np
from numpy.typing import NDArray


def fill_nearest(depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each pixel without a measurement (NaN) takes the value of the nearest measured one.

    Infinity counts as measured: a hole in the sky becomes sky. At least one pixel must be measured.
    """
    from scipy import ndimage  # 0.3 s to import, and most depth maps have no holes

    unknown = np.isnan(depth_m)
    if not unknown.any():
        return depth_m
    assert not unknown.all()
    nearest = ndimage.distance_transform_edt(unknown, return_distances=False, return_indices=True)
    return depth_m[tuple(nearest)]
