"""A dictionary on a real Slurm of two nodes, and after every fault the same bytes.

`make check-slurm` brings Slurm up on this machine from Debian's packages, which takes root; where
it cannot be had, one line says so. A dictionary of tiny networks is made by local jobs and by
Slurm's. Then a job is cancelled, takes more memory or time than it asked for, loses its node, a
Dask worker is cancelled, and Snakemake is killed while jobs run; the same command again must give
the same bytes each time, and leave no job, process or lock behind.

    python -m rosetta_steps.benchmarks.check_slurm [--keep] [NAME ...]
"""

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import yaml

from rosetta_steps.runtime.errors import run
from rosetta_steps.runtime.slurm import WORKERS
from rosetta_steps.testing import Project

SCRIPT = Path(__file__).with_name("slurm_on_one_machine.sh")
PROFILE = "workflow/profiles/slurm"
NOT_HERE = 3  # status of the script where no Slurm can be had
MODEL, GENERATOR = "one", "generator"
IMAGES, MANY_IMAGES = 16, 2000  # of the dictionary, and of what takes long enough to be hit
DUMP = f"results/activations/many/{MODEL}.zarr"
TABLE = f"results/correlations/many/{GENERATOR}--{MODEL}.zarr"
REPORTED_SECONDS = 60
PATIENCE = 300  # seconds for something to happen


class Check:
    """A project on Slurm, and what its local twin holds.

    Args:
        place: Empty folder.
    """

    def __init__(self, place: Path):
        self.local = project(place / "local")
        self.project = project(place / "slurm")
        self.folder = self.project.folder
        self.made = False

    def dictionary(self) -> str:
        """The dictionary by local jobs and by Slurm's: the same bytes."""
        self.make_dictionary()
        seconds = timed(lambda: command(self.project, "dictionary", "--workflow-profile", PROFILE))
        for folder in ("correlations", "best_buddies", "evidence", "dictionary/tiny"):
            self.compare(f"results/{folder}")
        return f"{seconds:.0f} s over two nodes of one core"

    def cancelled(self) -> str:
        """A job is cancelled: reported soon, and made by the same command again."""
        self.prepare()
        begun = self.start(DUMP, "--retries", "0")
        job = self.job_of("activations")
        wait_for(self.blocks, "no block of the dump", begun)
        subprocess.run(["scancel", job], check=True)
        seconds = timed(lambda: begun.wait(PATIENCE))
        assert begun.returncode != 0, "the run of a cancelled job succeeded"
        assert seconds <= REPORTED_SECONDS, f"reported after {seconds:.0f} s"
        self.again(DUMP)
        return f"reported after {seconds:.0f} s"

    def memory(self) -> str:
        """A job takes more memory than it asked for, and is let have more by itself."""
        self.prepare(MANY)
        begun = self.start(DUMP, "--set-resources", "activations:mem_mb=600*attempt")
        assert begun.wait(PATIENCE) == 0, "it did not get on with more memory"
        self.compare(DUMP)
        tries = len(submitted(begun))
        assert tries > 1, "600 MB were enough: the check checks nothing"
        return f"after {tries} tries"

    def time_limit(self) -> str:
        """A dump stalls until its time is over; the next try goes on with the blocks on disk."""
        self.prepare(MANY)
        begun = self.start(DUMP, "--set-resources", "activations:runtime=attempt")
        job = self.job_of("activations")
        wait_for(self.blocks, "no block of the dump", begun)
        for process in self.processes():
            os.kill(process, signal.SIGSTOP)
        self.make_dictionary()  # in the meantime
        wait_for(lambda: state_of(job) not in ("RUNNING", "COMPLETING"), "no end of its time")
        state = state_of(job)
        assert begun.wait(PATIENCE) == 0, "it did not get on after its time was over"
        self.compare(DUMP)
        return f"state {state}, then {len(submitted(begun))} tries"

    def node(self) -> str:
        """A node dies with its job, which Slurm starts again on the other."""
        self.prepare(MANY)
        begun = self.start(DUMP)
        job = self.job_of("activations")
        node = ask("squeue", "-h", "-j", job, "-o", "%N").strip()
        wait_for(self.blocks, "no block of the dump", begun)
        died = pids(f"^slurmd -N {node}$") + pids(f"^slurmstepd: \\[{job}\\.") + self.processes()
        for process in died:
            os.kill(process, signal.SIGKILL)
        try:
            wait_for(lambda: state_of(job) == "PENDING", "no second start of the job")
            # Slurm waits for two minutes, in which a node could come back.
            subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)
            assert begun.wait(PATIENCE) == 0, "it did not get on without the node"
        finally:
            subprocess.run(["bash", SCRIPT, "node", node], check=True)
            wait_for(lambda: len(ask("sinfo", "-h", "-N", "-t", "idle").split("\n")) > 2, node)
        self.compare(DUMP)
        return f"{node} and its job died"

    def worker(self) -> str:
        """The Slurm job of a Dask worker is cancelled in the middle of a correlation."""
        self.prepare(MANY, f"results/moments/many/{GENERATOR}.zarr", DUMP)
        self.project.config(
            lambda config: config["correlation"].update(scheduler="slurm", slurm_jobs=1)
        )
        begun = self.start(TABLE)
        pieces = "results/correlations/many/.*/*.npz"
        wait_for(lambda: list(self.folder.glob(pieces)), "no piece of the table", begun)
        jobs = ask("squeue", "-h", "-t", "R", "-o", "%A %j").splitlines()
        worker = next(line.split()[0] for line in jobs if f" {WORKERS}" in line)
        subprocess.run(["scancel", worker], check=True)
        assert begun.wait(PATIENCE) == 0, "it did not get on without the worker"
        self.compare(TABLE)
        workers = len(list(self.folder.glob("logs/dask_workers/*/*.err")))
        assert workers > 1, "the cancelled worker was not needed: the check checks nothing"
        return f"{workers} workers were submitted in place of one"

    def killed(self) -> str:
        """Snakemake is killed while its job runs: a second run does not start beside it."""
        self.prepare(MANY)
        begun = self.start(DUMP)
        job = self.job_of("activations")
        wait_for(self.blocks, "no block of the dump", begun)
        for process in self.processes():
            os.kill(process, signal.SIGSTOP)  # so that it is there when the next run starts
        os.killpg(begun.pid, signal.SIGKILL)
        begun.wait()
        command(self.project, "--unlock", "--cores", "1")
        beside = self.start(DUMP)
        assert beside.wait(PATIENCE) != 0, "it started beside the job of the killed run"
        said = log_of(beside)
        assert f"scancel {job}" in said, f"it does not name the job:\n{said[-500:]}"
        subprocess.run(["scancel", job], check=True)
        wait_for(lambda: not ask("squeue", "-h").strip(), "a job that does not end")
        self.again(DUMP)
        return "the job left behind was named, and ended by hand"

    # --- a run ------------------------------------------------------------------------------------

    def prepare(self, *targets: str) -> None:
        """Make what a fault does not hit, by local jobs; remove what it does."""
        here = [MANY, *targets]
        make(self.local, TABLE)
        shutil.rmtree(self.folder / "results", ignore_errors=True)
        shutil.copytree(self.local.folder / "results", self.folder / "results")
        for target in [TABLE] if len(here) > 2 else [DUMP, DUMP.replace("activations", "moments")]:
            shutil.rmtree(self.folder / target)
            Path(f"{self.folder / target}.done.json").unlink()

    def make_dictionary(self) -> None:
        """Make the dictionary by local jobs, if it is not there."""
        if not self.made:
            command(self.local, "dictionary", "--cores", "2")
            self.made = True

    def start(self, target: str, *options: str) -> subprocess.Popen:
        """Start Snakemake for a target in a process group of its own; its log is a file."""
        words = [f"{target}.done.json", "--workflow-profile", PROFILE, *options]
        log = self.folder / f"{time.monotonic_ns()}.log"
        with log.open("w") as output:
            begun = subprocess.Popen(
                [sys.executable, "-m", "snakemake", *words],
                cwd=self.folder,
                env=environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        LOGS[begun.pid] = log
        return begun

    def again(self, target: str) -> None:
        """Run the same command again, and compare."""
        begun = self.start(target)
        assert begun.wait(PATIENCE) == 0, f"the same command again failed:\n{log_of(begun)[-2000:]}"
        self.compare(target)

    def compare(self, path: str) -> None:
        """Refuse other bytes than those of local jobs."""
        here, there = (digests(one.folder / path) for one in (self.project, self.local))
        differing = sorted(name for name in here | there if here.get(name) != there.get(name))
        assert not differing, f"{path}: other bytes in {differing[:3]}"

    def job_of(self, rule: str) -> str:
        """Number of the running Slurm job of a rule."""

        def running() -> list[str]:
            lines = ask("squeue", "-h", "-t", "R", "-o", "%A %k").splitlines()
            return [line.split()[0] for line in lines if f"rule_{rule}" in line]

        return wait_for(running, f"no job of {rule}")[0]

    def blocks(self) -> list[Path]:
        """Files of maps that a dump has written."""
        return list((self.folder / DUMP).glob("**/c/*/*/*/*"))

    def processes(self) -> list[int]:
        """Processes of the step that dumps."""
        return pids("rosetta_steps.activations .*results/activations/many")

    def left_behind(self) -> list[str]:
        """What a run left behind: jobs of Slurm, processes, locks."""
        jobs = ask("squeue", "-h").splitlines()
        processes = [f"process {pid}" for pid in pids("-m rosetta_steps.[a-z]*ation")]
        locks = [str(lock) for lock in (self.folder / ".snakemake/locks").glob("*")]
        return [*jobs, *processes, *locks]


MANY = "results/samples/many.zarr"
LOGS: dict[int, Path] = {}
CHECKS: dict[str, Callable[[Check], str]] = {
    "time-limit": Check.time_limit,
    "dictionary": Check.dictionary,
    "cancelled": Check.cancelled,
    "memory": Check.memory,
    "node": Check.node,
    "worker": Check.worker,
    "killed": Check.killed,
}


def project(folder: Path) -> Project:
    """A project of tiny networks on processors, whose profile names this Slurm."""
    folder.mkdir(parents=True)
    made = Project(folder)

    def change(config: dict) -> None:
        config["device"] = "cpu"
        tiny = config["sample_sets"]["tiny"]
        config["sample_sets"]["tiny"] = tiny | {"images": IMAGES}
        config["sample_sets"]["many"] = tiny | {"images": MANY_IMAGES}

    made.config(change)
    settings = yaml.safe_load((folder / PROFILE / "config.yaml").read_text())
    settings["default-resources"] |= {"slurm_account": "mine", "slurm_partition": "work"}
    settings["max-threads"] = 1
    made.write(f"{PROFILE}/config.yaml", settings)
    return made


def make(of: Project, target: str) -> None:
    """Make a target by local jobs."""
    command(of, f"{target}.done.json", "--cores", "2")


def command(of: Project, *words: str) -> None:
    """Run Snakemake in a project.

    Raises:
        AssertionError: It failed; the message has the end of its output.
    """
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words],
        cwd=of.folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def environment() -> dict[str, str]:
    """Variables of Snakemake, whose jobs call the Python of this process."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PATH": path}


def digests(path: Path) -> dict[str, str]:
    """Digest of every file of a store or folder; manifests tell when they were written."""
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in path.rglob("*")
        if file.is_file() and not file.name.endswith(".done.json")
    }


def end_everything() -> None:
    """End what a failed check has left running."""
    for pid in LOGS:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    subprocess.run(["scancel", "-u", "root"])


def log_of(begun: subprocess.Popen) -> str:
    """What a run has printed."""
    return LOGS[begun.pid].read_text()


def submitted(begun: subprocess.Popen) -> list[str]:
    """Lines of a run that tell of a submitted job."""
    return [line for line in log_of(begun).splitlines() if "has been submitted" in line]


def state_of(job: str) -> str:
    """State of a Slurm job."""
    return ask("scontrol", "-o", "show", "job", job).partition("JobState=")[2].split()[0]


def pids(pattern: str) -> list[int]:
    """Processes whose command line matches a pattern, but for this one."""
    found = subprocess.run(["pgrep", "-f", "--", pattern], capture_output=True, text=True).stdout
    return [int(pid) for pid in found.split() if int(pid) != os.getpid()]


def ask(*words: str) -> str:
    """Output of a command of Slurm."""
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


def wait_for(condition: Callable[[], object], what: str, begun: subprocess.Popen | None = None):
    """Wait until something is true while a run goes on, and return it."""
    until = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < until, f"{what} in {PATIENCE} s"
        assert begun is None or begun.poll() is None, f"{what}:\n{log_of(begun)[-2000:]}"
        time.sleep(0.2)
    return found


def timed(action: Callable[[], object]) -> float:
    """Seconds that something takes."""
    begin = time.monotonic()
    action()
    return time.monotonic() - begin


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Check the workflow on a real Slurm.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CHECKS)}")
    parser.add_argument("--keep", action="store_true", help="leave Slurm and the folder for a look")
    a = parser.parse_args()
    if unknown := sorted(set(a.names) - set(CHECKS)):
        parser.error(f"no check {unknown[0]}: there are {', '.join(CHECKS)}")
    begin = time.monotonic()
    started = subprocess.run(["bash", SCRIPT, "start"], capture_output=True, text=True)
    if started.returncode == NOT_HERE:
        print(f"check-slurm: no Slurm can be had here ({started.stdout.strip()}), so nothing ran.")
        return
    assert started.returncode == 0, started.stdout + started.stderr
    place = Path(tempfile.mkdtemp(prefix="check-slurm-"))
    failed = []
    try:
        check = Check(place)
        for name in a.names or CHECKS:
            start = time.monotonic()
            try:
                outcome = CHECKS[name](check)
                left = check.left_behind()
                assert not left, f"left behind: {', '.join(left)}"
            except (AssertionError, subprocess.SubprocessError, OSError) as error:
                failed.append(name)
                outcome = f"FAILED: {error}"
                end_everything()
            print(f"{name:12} {time.monotonic() - start:4.0f} s  {outcome}", flush=True)
    finally:
        if not a.keep:
            subprocess.run(["bash", SCRIPT, "stop"])
            if not failed:
                shutil.rmtree(place, ignore_errors=True)
    print(f"check-slurm: {time.monotonic() - begin:.0f} s")
    if failed:
        sys.exit(f"check-slurm: {', '.join(failed)} failed; see {place}")


if __name__ == "__main__":
    run(main)
