"""The sample files of docs/receivers, as whoever copies them has them."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

from local_stack.folder import CHECKOUT

SAMPLES = CHECKOUT / "docs" / "receivers"


def python_sample(name: str) -> Any:
    """The module, by the name of its file."""
    spec = spec_from_file_location(f"sample_{name}", SAMPLES / f"{name}.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
