"""AOD-Net as it is usually trained with PyTorch, for benchmarks/train.py, which runs this by a Python that has torch.

    python benchmarks/train_torch.py PICTURES BATCHES

PICTURES holds hazy/NAME and clean/NAME. The usual loader: four workers, Pillow decodes each whole picture and resizes
it to 640 x 480; Adam, mean squared error, gradients clipped. Written from the paper; no code of another port.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

BATCH, SIZE = 8, (640, 480)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class AODNet(nn.Module):
    """Five convolutions for K, then J = ReLU(K I - K + 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3, padding=1)
        self.conv3, self.conv4 = nn.Conv2d(6, 3, 5, padding=2), nn.Conv2d(6, 3, 7, padding=3)
        self.conv5 = nn.Conv2d(12, 3, 3, padding=1)

    def forward(self, hazy: torch.Tensor) -> torch.Tensor:
        x1 = torch.relu(self.conv1(hazy))
        x2 = torch.relu(self.conv2(x1))
        x3 = torch.relu(self.conv3(torch.cat((x1, x2), 1)))
        x4 = torch.relu(self.conv4(torch.cat((x2, x3), 1)))
        k = torch.relu(self.conv5(torch.cat((x1, x2, x3, x4), 1)))
        return torch.relu(k * hazy - k + 1.0)


class Pictures(Dataset):
    """Pairs of files, decoded and resized one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.names = folder, sorted(path.name for path in (folder / "hazy").iterdir())

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.read("hazy", number), self.read("clean", number)

    def read(self, kind: str, number: int) -> torch.Tensor:
        with Image.open(self.folder / kind / self.names[number]) as file:
            picture = file.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)
        return torch.from_numpy(np.asarray(picture).astype(np.float32) / 255.0).permute(2, 0, 1)


def main() -> None:
    folder, batches = Path(sys.argv[1]), int(sys.argv[2])
    torch.manual_seed(0)
    network = AODNet().to(DEVICE)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def step(hazy: torch.Tensor, clean: torch.Tensor) -> None:
        loss = nn.functional.mse_loss(network(hazy.to(DEVICE)), clean.to(DEVICE))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 0.1)
        optimizer.step()

    def wait() -> None:
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    loader = DataLoader(Pictures(folder), BATCH, shuffle=True, num_workers=4, drop_last=True, persistent_workers=True)
    endless = forever(loader)
    one = next(endless)
    for _ in range(2):
        step(*one)
    wait()
    began = time.perf_counter()
    for _ in range(batches):
        step(*one)
    wait()
    bare = (time.perf_counter() - began) / batches
    step(*next(endless))
    began = time.perf_counter()
    for _ in range(batches):
        step(*next(endless))
    wait()
    whole = (time.perf_counter() - began) / batches
    print(json.dumps({"step_ms": bare * 1e3, "images_s": BATCH / whole, "device": DEVICE, "torch": torch.__version__}))


def forever(loader: DataLoader) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Epoch after epoch."""
    while True:
        yield from loader


if __name__ == "__main__":
    main()
