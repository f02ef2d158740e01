"""The metrics of a run: a CSV file with one row an epoch; of a sweep, one for each member."""

import csv
import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from seadlif_jax.parallel import is_first_process
from seadlif_jax.runs.errors import RunError
from seadlif_jax.runs.files import flush_to_disk, write_atomically

Row = Mapping[str, float]


class MetricsLog:
    """CSV file of metrics. Of several processes, the first alone writes.

    Args:
      path: the file; it need not exist.
      has_members: whether it is of a sweep: a column `member` then tells its members apart.
      every_epochs: number of epochs between two checkpoints.

    Attributes:
      checksum: checksum of the rows written so far, which each checkpoint records.
    """

    def __init__(self, path: Path, has_members: bool = False, every_epochs: int = 1):
        self.path = path
        self.checksum = 0
        self._has_members = has_members
        self._every_epochs = every_epochs

    def write(self, rows: Sequence[Row]) -> None:
        """Replace the file by one with these rows."""
        self.path.unlink(missing_ok=True)
        self.checksum = 0
        self.append(rows)

    def append(self, rows: Sequence[Row]) -> None:
        """Add the rows of an epoch, each with the number of its member."""
        if not rows or not is_first_process():
            return
        text = io.StringIO()
        columns = [name for name in rows[0] if name != "member" or self._has_members]
        writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
        if not self.path.exists():
            writer.writeheader()
        writer.writerows(rows)
        with self.path.open("a", newline="") as file:
            file.write(text.getvalue())
            flush_to_disk(file)
        self.checksum = zlib.crc32(text.getvalue().encode(), self.checksum)

    def read(self, member: int = 0) -> list[dict[str, float]]:
        """Return the rows of a member; none if it has diverged in the first epoch."""
        return self.by_member().get(member, [])

    def by_member(self) -> dict[int, list[dict[str, float]]]:
        """Return the rows of all members that have any."""
        lines = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
        if lines and not lines[-1].endswith("\n"):  # cut off, or being written now
            lines.pop()
        rows: dict[int, list[dict[str, float]]] = {}
        for row in _parse_rows(lines):
            rows.setdefault(int(row.get("member", 0)), []).append(row)
        return rows

    def rewind(self, epochs: Sequence[int], checksum: int | None) -> None:
        """Drop the rows after the last checkpoint; a run that was cut off can leave some, the last one incomplete.

        Args:
          epochs: number of epochs that each member had finished then.
          checksum: checksum of the rows then; None if there is no checkpoint.

        Raises:
          RunError: rows are missing or damaged; or there are so many that there must have been a checkpoint.
        """
        if not is_first_process():
            return
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []
        if checksum is None and len(lines) - 1 > 2 * self._every_epochs * len(epochs):
            raise RunError(
                f"{self.path} has {len(lines) - 1} rows, but there is no checkpoint. Put the checkpoints back, or "
                "start over in another --workdir"
            )
        num_rows = sum(epochs)
        kept = b"".join(lines[: num_rows + 1]) if num_rows else b""
        self.checksum = zlib.crc32(kept)
        if self.checksum != (checksum or 0):
            raise RunError(
                f"{self.path} is damaged: its first {num_rows} rows are not those of the checkpoint. "
                "Put the file back, or start over in another --workdir"
            )
        if kept:
            write_atomically(self.path, kept.decode())
        else:
            self.path.unlink(missing_ok=True)


def _parse_rows(lines: list[str]) -> list[dict[str, float]]:
    return [
        {name: int(value) if name in ("member", "epoch") else float(value) for name, value in row.items()}
        for row in csv.DictReader(lines)
    ]
