"""hazegen: physically right hazy/clean image pairs from photos and depth maps.

The commands are `hazegen make`, `verify`, `info` and so on (`hazegen --help`). For notebooks and programs there are

- `hazegen.add_haze`, haze for one picture in memory (`hazegen.single.add_haze`), and
- `hazegen.open`, a look into a finished dataset (`hazegen.opened.open`):

```python
import hazegen

hazy = hazegen.add_haze(image, depth_m=depth_m, visibility_m=100)

dataset = hazegen.open("dataset")
pair = dataset["train"][0]
```

Importing the package imports nothing else: what the two need comes when they are first used. Each verb has a module
of its name, and everything that they share is a module of plain functions.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hazegen.opened import open as open
    from hazegen.single import add_haze as add_haze

_HOMES = {"add_haze": "hazegen.single", "open": "hazegen.opened"}


def __getattr__(name: str) -> Any:
    """`hazegen.add_haze` and `hazegen.open`, whose modules are imported when they are first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hazegen' has no attribute '{name}'")
    found = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
