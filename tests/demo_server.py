"""A demo in a process of its own, which notes the files that it opens and the places that it calls.

    python tests/demo_server.py NOTES [MODEL]

Without a model its one network is the identity, which needs no TensorFlow. It says its port and its folder in one
line of JSON, and ends with its input.
"""

import json
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np

from aodnet import demo, demo_dehaze, demo_dehaze_tab, demo_haze, demo_page
from aodnet.demo_dehaze import Network
from aodnet.demo_setup import Setup
from aodnet.tiles import Restorer


def main() -> None:
    notes = Path(sys.argv[1]).open("w", buffering=1, encoding="utf-8", errors="surrogateescape")  # noqa: SIM115

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if notes.closed:
            return
        if event == "open" and isinstance(arguments[0], str):
            notes.write(f"open {arguments[0]!r}\n")
        elif event == "socket.connect":
            notes.write(f"call {arguments[1]!r}\n")

    sys.addaudithook(note)
    if len(sys.argv) > 2:
        networks = demo_dehaze.load_networks({sys.argv[2]: sys.argv[2]})
    else:
        networks = {"identity": Network(Restorer(lambda hazy: hazy), lambda hazy: (hazy, np.ones_like(hazy)))}
        demo_dehaze_tab.EXAMPLES = ()  # which would be rendered
        demo_haze.PROCEDURAL_SIZE = (96, 64)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with demo.working_folder() as workplace:
        setup = Setup(networks, workplace, 1_000_000 if len(sys.argv) == 2 else 40_000_000, 4_000_000)
        blocks = demo_page.start(setup, "127.0.0.1", port, demo.LOOPBACK)
        notes.write("ready\n")
        print(json.dumps({"port": port, "workplace": str(workplace), "cwd": str(Path.cwd())}), flush=True)
        sys.stdin.read()
        blocks.close(verbose=False)
        notes.close()


if __name__ == "__main__":
    main()
