"""Advice to the user about errors of the file system, chosen by error number."""

import errno
from pathlib import Path

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FINISHED_WORK = "then run the same command again: finished work is kept."
# Advice by error number, because the advice for one error misleads for another.
REMEDIES = {
    errno.ENOSPC: "Its disk is full: make room (df -h {folder}), ",
    errno.EDQUOT: "Your quota there is used up: make room or ask for more (quota -s), ",
    errno.EFBIG: "It is larger than its file system or `ulimit -f` allows: raise that, ",
    errno.EACCES: "You may not write there: correct its permissions (ls -ld {folder}), ",
    errno.EPERM: "You may not write there: correct its permissions (ls -ld {folder}), ",
    errno.EROFS: "Its file system can only be read: write to another, ",
    errno.ENOENT: "A folder of its path is missing or was removed meanwhile: make it, ",
    errno.ENOTDIR: "A file stands where its path needs a folder: move that, ",
    errno.EISDIR: "A folder stands in its place: move that, ",
    errno.ENAMETOOLONG: "Its name is too long for the file system: choose shorter names, ",
    errno.EMFILE: "Too many files are open: raise `ulimit -n`, ",
    errno.EIO: "The disk itself reports a fault: look at it (dmesg), ",
    errno.ESTALE: "Its network file system lost it: mount that anew, ",
}


def remedy(error: Exception, path: Path) -> str:
    """Return advice on a file system error, chosen by its error number.

    Args:
        error: The error. An OSError has the number as `errno`; zarrs raises a RuntimeError with the
            number in its message.
        path: The file that could not be read or written.
    """
    number = getattr(error, "errno", None)
    if number is None and "(os error " in str(error):
        number = int(str(error).rpartition("(os error ")[2].partition(")")[0])
    advice = "" if number is None else REMEDIES.get(number, "")
    return advice.format(folder=Path(path).parent) + FINISHED_WORK
