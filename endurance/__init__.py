"""Long and rough treatment of `train.py`, from the command line, with the figures it leaves."""
