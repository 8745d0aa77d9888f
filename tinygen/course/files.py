"""Files of a course, whole or not at all."""

import os
from datetime import UTC, datetime
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a text file: whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file: whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def timestamp(path: Path) -> str:
    """When a file was written, as nbgrader reads it."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
