"""Names of the compared neurons, and their colours in all figures."""

from seadlif_jax.plots import BLUE, GREEN, ORANGE

NEURONS = {"se_adlif": "SE-adLIF", "ef_adlif": "EF-adLIF", "lif": "LIF"}
COLOURS = {"se_adlif": BLUE, "ef_adlif": GREEN, "lif": ORANGE}
