"""Speed of hazegen samples: scenes a CPU-second, on one thread, PNG encoding included.

OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/samples.py --scenes 24 --repeats 3
"""

import argparse
import statistics
import time

import cv2

from hazegen.images import encode
from hazegen.samples import make_sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    rates = []
    for _ in range(given.repeats):
        began = time.process_time()
        for index in range(given.scenes):
            sample = make_sample(0, index, 640, 480)
            encode(sample.image, ".png")
            encode(sample.depth, ".png")
        rates.append(given.scenes / (time.process_time() - began))
    spread = f"median of {given.repeats}: {min(rates):.2f} to {max(rates):.2f}"
    print(f"{statistics.median(rates):.2f} scenes a CPU-second ({spread})")


if __name__ == "__main__":
    main()
