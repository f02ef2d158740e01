"""What a user sees while training: a bar over the run, and a line an epoch."""

import sys

from tqdm import tqdm


class Progress:
    """A progress bar over epochs (on a terminal), with one line for each finished epoch above it."""

    def __init__(self, epochs_done: int, num_epochs: int, score_name: str):
        self._num_epochs = num_epochs
        self._score_name = score_name
        if 0 < epochs_done < num_epochs:
            tqdm.write(f"continuing after epoch {epochs_done}")
        # `disable=None`: no bar where the output is not a terminal.
        self._bar = tqdm(
            total=num_epochs, initial=epochs_done, unit="epoch", desc="compiling", disable=None, dynamic_ncols=True
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def epoch_done(self, row: dict[str, float], best_epoch: int) -> None:
        tqdm.write(self._line(row, best_epoch))
        sys.stdout.flush()  # for those who watch a file
        self._bar.set_description("training", refresh=False)
        self._bar.update()

    def _line(self, row: dict[str, float], best_epoch: int) -> str:
        def part(split: str) -> str:
            loss, score = row[f"{split}_loss"], row[f"{split}_{self._score_name}"]
            return f"{split} loss {loss:.4f} {self._score_name} {score:.4f}"

        epoch = int(row["epoch"])
        mark = " *" if best_epoch == epoch else ""
        number = f"{epoch:{len(str(self._num_epochs))}d}/{self._num_epochs}"
        return f"epoch {number}  {part('train')}  {part('validation')}  {row['seconds']:.1f} s{mark}"
