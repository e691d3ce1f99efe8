"""Procedural streets and rooms, photographed with exact depth.

World axes in metres: x to the right, y ahead, z up, the ground at z = 0. Vectors of many points or
rays are held component first, (3, ...). A ray's direction has a component of 1 along the camera's axis,
so the parameter of a hit is its plane depth. Nothing here calls BLAS on pixels: its rounding
changes with the number of threads.
"""
