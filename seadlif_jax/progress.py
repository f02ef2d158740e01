"""What a user sees while training: a bar over the epoch, and a line for each finished one."""

import sys

from tqdm import tqdm


class Progress:
    """On a terminal a progress bar over the steps of the epoch; everywhere one line for each finished epoch."""

    def __init__(self, num_epochs: int, num_steps: int, score_name: str):
        self._num_epochs = num_epochs
        self._num_steps = num_steps
        self._score_name = score_name
        # `disable=None`: no bar where the output is not a terminal.
        self._bar = tqdm(total=num_steps, unit="step", disable=None, dynamic_ncols=True, leave=False)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def start_epoch(self, epoch: int) -> None:
        self._bar.reset(self._num_steps)
        self._bar.set_description(f"epoch {epoch}/{self._num_epochs}")

    def steps_done(self, count: int) -> None:
        self._bar.update(count)

    def epoch_done(self, row: dict[str, float], best_epoch: int) -> None:
        tqdm.write(self._line(row, best_epoch))
        sys.stdout.flush()  # for those who watch a file

    def _line(self, row: dict[str, float], best_epoch: int) -> str:
        def part(split: str) -> str:
            loss, score = row[f"{split}_loss"], row[f"{split}_{self._score_name}"]
            return f"{split} loss {loss:.4f} {self._score_name} {score:.4f}"

        epoch = int(row["epoch"])
        mark = "  best so far" if best_epoch == epoch else ""
        number = f"{epoch:{len(str(self._num_epochs))}d}/{self._num_epochs}"
        return f"epoch {number}  {part('train')}  {part('validation')}  {row['seconds']:.1f} s{mark}"
