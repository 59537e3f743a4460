"""How a step's command line ends."""

import subprocess
import sys


def test_a_step_leaves_nothing_for_python_to_search_at_its_end():
    code = (
        "import atexit, gc\n"
        "from rosetta_steps.runtime.errors import run\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 0))\n"
        "run(lambda: None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
