"""Reading a file that anyone may have made: a pipe or a device is refused, an error names the file."""

import stat
from pathlib import Path


def require_regular(path: Path) -> None:
    """Refuse what has no end or may never begin: a pipe, a socket, a terminal, a device.

    Raises:
        OSError: If ``path`` is none of a file, a folder and a name that is free.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # said where it is opened
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(f"{path} is a pipe or a device, not a file; write what it gives to a file")


def read_bytes(path: Path) -> bytes:
    """The contents of a file.

    Raises:
        OSError: If there is none, it cannot be read, or it is a pipe or a device.
        ValueError: If it does not fit the memory.
    """
    require_regular(path)
    try:
        return path.read_bytes()
    except MemoryError as error:
        raise ValueError(f"{path} does not fit the memory") from error
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from error


def read_text(path: Path) -> str:
    """The contents of a text file (UTF-8).

    Raises:
        OSError: As ``read_bytes``.
        ValueError: If it is not such a text.
    """
    data = read_bytes(path)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}; save it as UTF-8") from error
