"""aodnet: trains, evaluates and applies AOD-Net on datasets made by hazegen.

The commands are `aodnet fit`, `evaluate`, `predict` and so on (`aodnet --help`). For notebooks and programs there is
`aodnet.load` (`aodnet.loaded.load`), trained weights as a function of pictures:

```python
import aodnet

net = aodnet.load()
restored = net(hazy)
```

Importing the package imports nothing else; TensorFlow, which takes seconds, comes with the first `load`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aodnet.loaded import load as load


def __getattr__(name: str) -> Any:
    """`aodnet.load`, whose module is imported when it is first asked for."""
    if name != "load":
        raise AttributeError(f"module 'aodnet' has no attribute '{name}'")
    from aodnet.loaded import load

    globals()["load"] = load
    return load


def __dir__() -> list[str]:
    return sorted([*globals(), "load"])
