"""What a step imports before it has read its command line: a help text waits for no library."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT
from test_rooms import PACKAGE

HEAVY = [
    "torch",
    "timm",
    "torchvision",
    "open_clip",
    "xarray",
    "zarr",
    "pandas",
    "numba",
    "dask",
    "matplotlib",
    "sklearn",
    "scipy",
]
STEPS = {
    step
    for file in (ROOT / "workflow/rules").glob("*.smk")
    for step in re.findall(r"python -m (rosetta_steps[\w.]*)", file.read_text(encoding="utf-8"))
}
STEPS |= {f"rosetta_steps.{file.stem}" for file in PACKAGE.glob("[!_]*.py")}
HELP = """
import runpy, sys
step, *heavy = sys.argv[1:]
sys.argv[1:] = ["--help"]
try:
    runpy.run_module(step, run_name="__main__", alter_sys=True)
except SystemExit as ended:
    assert not ended.code, ended.code
sys.exit(" ".join(name for name in heavy if name in sys.modules) or 0)
"""


@pytest.mark.parametrize("step", sorted(STEPS))
def test_the_help_of_a_step_imports_no_library_that_takes_seconds(step):
    command = [sys.executable, "-c", HELP, step, *HEAVY]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (ended.returncode, ended.stderr.strip()) == (0, ""), ended.stderr
    assert ended.stdout.startswith("usage: ")


@pytest.mark.parametrize(
    "module",
    [
        "rosetta_steps.display.dictionary",
        "rosetta_steps.display.figures",
        "rosetta_steps.evidence.names",
        "rosetta_steps.evidence.table",
        "rosetta_steps.maps.matched",
        "rosetta_steps.matching.best_buddies",
        "rosetta_steps.matching.concepts",
    ],
)
def test_what_computes_without_torch_does_not_import_it(module):
    code = f"import sys, {module}\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
