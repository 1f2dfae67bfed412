"""How far a command is, told from what it says."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# "INFO pass 3/40: misfit 0.00178", "INFO epoch 1/10: train_loss 0.2, val_loss 0.3".
STEP = re.compile(
    rb"^(?:INFO )?(pass|epoch) (\d{1,9})/(\d{1,9}): (?:\w+ )([-+.\deE]{1,30}|nan|inf)\b"
)
# Values that are kept for a curve, and bytes read at once.
MOST, BLOCK = 400, 1 << 18
TAIL = 1 << 15


@dataclass
class Progress:
    """Follows a log that grows.

    Attributes
    ----------
    unit, number, count : pass or epoch, which one, of how many.
    stage : counts from 1 how often the numbers began anew.
    values : misfit or loss of all of them; of a long list every second one is left out.
    said : the last line.
    """

    log: Path
    unit: str | None = None
    number: int = 0
    count: int = 0
    stage: int = 0
    steps: int = 0
    every: int = 1
    values: list[float] = field(default_factory=list)
    last: float | None = None
    said: str = ""
    _read: int = 0
    _rest: bytes = b""

    def look(self) -> bool:
        """Read what is new; whether there was anything."""
        new = False
        try:
            with self.log.open("rb") as file:
                file.seek(self._read)
                while block := file.read(BLOCK):
                    new = True
                    self._read += len(block)
                    # A bar in a terminal returns to the head of its line.
                    *lines, rest = (self._rest + block).replace(b"\r", b"\n").split(b"\n")
                    self._rest = rest[-BLOCK:]
                    for line in lines:
                        self._take(line)
        except FileNotFoundError:
            return False
        return new

    def _take(self, line: bytes) -> None:
        if line.strip():
            self.said = line[:2000].decode(errors="replace")
        if (found := STEP.match(line)) is None:
            return
        number = int(found[2])
        if number <= self.number or self.stage == 0:
            self.stage += 1
        self.unit, self.number, self.count = found[1].decode(), number, int(found[3])
        try:
            value = float(found[4])
        except ValueError:
            return
        # JSON knows no other numbers.
        if value - value != 0.0:
            return
        self.last = value
        if self.steps % self.every == 0:
            self.values.append(value)
            if len(self.values) > MOST:
                self.values, self.every = self.values[::2], 2 * self.every
        self.steps += 1

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "unit": self.unit, "number": self.number, "count": self.count, "stage": self.stage,
            "last": self.last, "values": self.values, "said": self.said,
        }  # fmt: skip


def tail(log: Path, most: int = TAIL) -> str:
    """The last lines of a log; nothing before it is there."""
    try:
        with log.open("rb") as file:
            length = file.seek(0, 2)
            file.seek(max(0, length - most))
            text = file.read(most).decode(errors="replace")
    except (FileNotFoundError, IsADirectoryError):
        return ""
    return text if length <= most else text[text.find("\n") + 1 :]
