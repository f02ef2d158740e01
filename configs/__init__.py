"""One config a task. `python train.py --config=configs/<task>.py[:variant]`."""
