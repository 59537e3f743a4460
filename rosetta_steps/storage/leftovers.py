"""Files that are made beside an output and moved to its place: by whom, and what was left of them.

A killed process cannot remove what it was writing. The next one that writes the same output does,
and lets alone what a process that runs is writing.
"""

import os
import re
import shutil
import socket
import time
from pathlib import Path

# Of a process on another machine it is not known whether it runs: hours for which its files are let
# alone after they were last written.
LET_ALONE = 24


def partial(output: Path) -> Path:
    """Where this process makes an output, beside it; what killed ones have left of it is removed.

    Args:
        output: A file, or a folder.
    """
    remove_leftovers(output)
    return output.with_name(f".{output.name}.{_host()}-{os.getpid()}.partial")


def remove_leftovers(output: Path) -> None:
    """Remove what processes that no longer run have left of an output, beside it.

    Args:
        output: That they were writing; it stays itself.
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
