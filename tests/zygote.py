"""A process that has imported the large libraries, and forks for every `python -m` of a test.

Steps of a workflow are processes of their own, and most of what one on a tiny project takes is the
import of torch, timm, xarray and Dask: seconds. Here a server imports them once in a run of tests.
A `python` put in front on the PATH hands it arguments, folder, environment and open files; the
server forks, and the child runs the module as `python -m` does, the package's own modules freshly
imported from the folder it runs in. Without a server, and for all but `-m`, it is plain Python.

There are two servers with different seeds of hashes, so that what follows from the order of a set
still differs between two runs. They are shared by the workers of pytest, and end with them.
"""

import atexit
import contextlib
import fcntl
import importlib
import itertools
import marshal
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

# Nothing of rosetta_steps, of which every project has its own.
LIBRARIES = (
    "torch",
    "timm",
    "torchvision",
    "xarray",
    "zarr",
    "zarrs",
    "dask.array",
    "distributed",
    "numba",
    "pandas",
    "scipy.sparse",
    "scipy.optimize",
    "scipy.cluster.hierarchy",
    "scipy.stats",
    "matplotlib.pyplot",
    "matplotlib.backends.backend_agg",
    "PIL.Image",
    "safetensors.torch",
    "jsonschema",
    "yaml",
    "tqdm",
    "psutil",
    "snakemake.cli",
    "snakemake.api",
    "snakemake.workflow",
)
# It needs Linux: /proc, and to wait for a process and a socket together.
POSSIBLE = hasattr(os, "pidfd_open") and Path("/proc/self").exists()
CLIENT = """#!{python} -IS
import sys, os
REAL, SOCKET = {python!r}, {socket!r}
def plain():
    os.execv(REAL, [REAL, *sys.argv[1:]])
if len(sys.argv) < 3 or sys.argv[1] != "-m":
    plain()
import marshal, signal, socket
there = socket.socket(socket.AF_UNIX)
try:
    there.connect(SOCKET)
except OSError:
    plain()
data = marshal.dumps((sys.argv[2:], os.getcwd(), dict(os.environ)))
socket.send_fds(there, [len(data).to_bytes(8, "little")], [0, 1, 2])
there.sendall(data)
answer = there.recv(8)
status = int.from_bytes(answer, "little", signed=True) if answer else 1
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


class Python:
    """In the place of testing.Project.python: that of either server in turn, once it is asked for.

    What two runs one after the other have in common follows from no order of a set.
    """

    def __init__(self):
        self.seeds = itertools.cycle((1, 2))

    def __get__(self, project, kind) -> Path:
        return start(next(self.seeds))


def start(seed: int) -> Path:
    """The `python` of a server with a seed of hashes, which is started if it does not run."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    folder = Path(tempfile.gettempdir()) / f"zygote-{os.getuid()}-{run}-{seed}"
    folder.mkdir(mode=0o700, exist_ok=True)
    client, address = folder / "python", folder / "socket"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not address.exists():
            client.write_text(CLIENT.format(python=sys.executable, socket=str(address)))
            client.chmod(0o700)
            with (folder / "log").open("w") as log:
                subprocess.Popen(
                    [sys.executable, __file__, str(address), str(owner)],
                    env=os.environ | {"PYTHONHASHSEED": str(seed)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            for _ in range(1200):
                if address.exists():
                    break
                time.sleep(0.1)
    return client


def serve(address: Path, owner: int) -> None:
    """Fork for all who ask, until the run of tests has ended."""
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    assert threading.active_count() == 1, threading.enumerate()
    assert not [name for name in sys.modules if name.startswith("rosetta_steps")]
    server = socket.socket(socket.AF_UNIX)
    server.settimeout(1)
    # Under its name once it listens.
    server.bind(f"{address}.new")
    server.listen(64)
    os.rename(f"{address}.new", address)
    try:
        while _runs(owner):
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            try:
                client, _ = server.accept()
            except TimeoutError:
                continue
            if os.fork() == 0:
                server.close()
                os._exit(_attend(client))
            client.close()
    finally:
        shutil.rmtree(address.parent, ignore_errors=True)


def _runs(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def _attend(client: socket.socket) -> int:
    """Run what a client asks for in a child, say how it ended, and end it if the client does."""
    client.settimeout(None)
    length, files, *_ = socket.recv_fds(client, 8, 3)
    data = b""
    while len(data) < int.from_bytes(length, "little"):
        data += client.recv(2**20)
    child = os.fork()
    if child == 0:
        client.close()
        _run(*marshal.loads(data), files)
    for file in files:
        os.close(file)
    ended = os.pidfd_open(child)
    ready, *_ = select.select([ended, client], [], [])
    if ended not in ready:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(OSError):
        client.sendall(status.to_bytes(8, "little", signed=True))
    return 0


def _run(arguments: list[str], folder: str, environment: dict[str, str], files: list[int]) -> None:
    """Be `python -m` of these arguments; never returns."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    environment.pop("PYTHONHASHSEED", None)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = folder
    sys.argv = arguments
    status = 1
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as ended:
        if isinstance(ended.code, int | None):
            status = ended.code or 0
        else:
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    _end(status)


def _end(status: int) -> None:
    """As an interpreter ends: threads are waited for, what is registered is called."""
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status & 255)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
