"""The paper's comparisons (sweeps over seeds) and analyses of neurons. Each writes tables and a figure."""
