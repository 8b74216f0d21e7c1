"""What a script imports, found without running it."""

from pathlib import Path
from typing import Optional

from heats._imports import Import, Step, Variable, found_in


def find(folder: Path, train: str, files: Optional[dict[str, str]] = None) -> list[Step]:
    for name, text in {"train.py": train, **(files or {})}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return found_in(folder / "train.py")


def test_imports_are_found_in_their_order_and_once(tmp_path: Path) -> None:
    script = "import os, numpy as np\nfrom sklearn import svm, tree\nimport numpy\nfrom __future__ import x\n"
    assert find(tmp_path, train=script) == [
        Import("os", ()),
        Import("numpy", ()),
        Import("sklearn", ("svm", "tree")),
    ]


def test_what_may_not_be_imported_at_all_is_left_to_the_trial(tmp_path: Path) -> None:
    script = (
        "if True:\n    import a\n"
        "def f():\n    import b\n"
        "class C:\n    import c\n"
        "try:\n    import d\nexcept ImportError:\n    import e\n"
    )
    assert find(tmp_path, train=script) == [Import("d", ())]


def test_own_modules_are_followed_and_not_listed(tmp_path: Path) -> None:
    steps = find(
        tmp_path,
        "import model\nfrom package import part\nfrom package.deep.leaf import x\n",
        {
            "model.py": "import torch\nimport train\n",
            "package/__init__.py": "from . import other\nfrom .. import outside\n",
            "package/part.py": "import jax\n",
            "package/other.py": "from .deep import leaf\nimport scipy\n",
            "package/deep/__init__.py": "import pandas\n",
            "package/deep/leaf.py": "from ..other import y\nimport xgboost\n",
        },
    )
    names = [step.module for step in steps if isinstance(step, Import)]
    assert names == ["torch", "pandas", "xgboost", "scipy", "jax"]


def test_constants_in_the_environment_come_before_the_imports_that_they_stand_before(tmp_path: Path) -> None:
    script = (
        "import os\n"
        "os.environ['A'] = '1'\n"
        "os.environ.setdefault('B', '2')\n"
        "os.environ['C'] = str(3)\n"
        "import numpy\n"
        "os.environ['D'] = '4'\n"
    )
    assert find(tmp_path, train=script) == [
        Import("os", ()),
        Variable("A", "1", is_default=False),
        Variable("B", "2", is_default=True),
        Import("numpy", ()),
    ]


def test_a_script_that_cannot_be_read_imports_nothing(tmp_path: Path) -> None:
    assert find(tmp_path, train="import numpy\nthis is no Python\n") == []
    assert found_in(tmp_path / "no_such.py") == []
