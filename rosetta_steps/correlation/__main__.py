"""python -m rosetta_steps.correlation."""

from rosetta_steps.correlation.step import main
from rosetta_steps.runtime.errors import run

if __name__ == "__main__":
    run(main)
