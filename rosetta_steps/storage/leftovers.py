"""Temporary files beside an output, and the removal of those that killed processes left behind.

A killed process cannot remove its temporary files. The next process that writes the same output
removes them, but not those of a process that is still running.
"""

import os
import re
import shutil
import socket
import time
from pathlib import Path

# Whether a process on another machine still runs is not known. Its files are kept for this many
# hours after they were last written.
LET_ALONE = 24


def partial(output: Path) -> Path:
    """Return this process's temporary path beside an output; remove those of killed processes.

    Args:
        output: Path of the output, a file or a folder.
    """
    remove_leftovers(output)
    return output.with_name(f".{output.name}.{_host()}-{os.getpid()}.partial")


def remove_leftovers(output: Path) -> None:
    """Remove the temporary files of an output whose processes no longer run.

    Args:
        output: The output that the processes were writing; it is not removed itself.
    """
    made = re.compile(
        rf"\.{re.escape(output.name)}\.(?:(?P<host>[\w.-]*)-)?(?P<pid>\d+)(?:\.partial)?"
    )
    if not output.parent.is_dir():
        return
    for path in output.parent.iterdir():
        if (of := made.fullmatch(path.name)) and not _may_be_written(path, **of.groupdict()):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _host() -> str:
    return re.sub(r"[^\w.-]", "", socket.gethostname())


def _may_be_written(path: Path, host: str | None, pid: str) -> bool:
    if host not in (None, _host()):
        try:
            return time.time() - path.stat().st_mtime < LET_ALONE * 3600
        except FileNotFoundError:
            return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return int(pid) != os.getpid()
