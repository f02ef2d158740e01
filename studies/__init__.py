"""The paper's comparisons, each a few sweeps over seeds, with a table and a figure."""
