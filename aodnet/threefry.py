"""Random numbers that are a function of a seed and a place alone: the same bits on every device, compiled or not.

tf.random.stateless_* would give other numbers under XLA than without it, and takes one seed at a time, where a batch
has one for each example.

References:
    Threefry-2x32 with 20 rounds: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

import math

import tensorflow as tf

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def threefry(keys: tuple[tf.Tensor, tf.Tensor], counters: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Two random words for each pair of counters: uint32 in any shapes that broadcast, as all arguments."""
    schedule = (*keys, tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(*keys), tf.constant(_PARITY, tf.uint32)))
    a, b = counters[0] + schedule[0], counters[1] + schedule[1]
    for group in range(5):
        for distance in _ROTATIONS[group % 2]:
            a += b
            b = tf.bitwise.bitwise_xor(_rotated(b, distance), a)
        a += schedule[(group + 1) % 3]
        b += schedule[(group + 2) % 3] + tf.constant(group + 1, tf.uint32)
    return a, b


def _rotated(words: tf.Tensor, distance: int) -> tf.Tensor:
    left, right = (tf.constant(bits, tf.uint32) for bits in (distance, 32 - distance))
    return tf.bitwise.bitwise_or(tf.bitwise.left_shift(words, left), tf.bitwise.right_shift(words, right))


def uniform(seeds: tf.Tensor, count: int) -> tf.Tensor:
    """`count` numbers in [0, 1) for each seed.

    Args:
        seeds: int32 (n, 2).

    Returns:
        float32 (n, count), multiples of 2^-24.
    """
    return tf.concat([_fractions(words) for words in _words(seeds, tf.constant(-(-count // 2)), 0)], 1)[:, :count]


def normal(seeds: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Normal numbers, independent of those of `uniform`: Box and Muller's.

    Args:
        seeds: int32 (n, 2).
        shape: Of what each seed gets, int32 (k,).

    Returns:
        float32 (n, *shape).
    """
    count = tf.reduce_prod(shape)
    first, second = (_fractions(words) for words in _words(seeds, (count + 1) // 2, 1))
    # 1 less the fraction: in (0, 1], so that its logarithm is finite.
    radius, angle = tf.sqrt(-2.0 * tf.math.log(1.0 - first)), (2.0 * math.pi) * second
    values = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], 1)[:, :count]
    return tf.reshape(values, tf.concat([tf.shape(seeds)[:1], shape], 0))


def _words(seeds: tf.Tensor, count: tf.Tensor, stream: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Two times (n, count) words; each `stream` has its own."""
    keys = tf.bitcast(seeds, tf.uint32)[:, None, :]
    places = tf.cast(tf.range(count), tf.uint32)[None, :]
    return threefry((keys[..., 0], keys[..., 1]), (places, tf.constant(stream, tf.uint32)))


def _fractions(words: tf.Tensor) -> tf.Tensor:
    """The upper 24 bits, all that a float32 holds, as a number in [0, 1)."""
    upper = tf.bitwise.right_shift(words, tf.constant(8, tf.uint32))
    return tf.cast(tf.cast(upper, tf.int32), tf.float32) * 2.0**-24
