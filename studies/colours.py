"""Names of the compared neurons, and their colours in all figures."""

from seadlif_jax.plots import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, YELLOW

NEURONS = {"se_adlif": "SE-adLIF", "ef_adlif": "EF-adLIF", "lif": "LIF"}  # of the paper
OTHER_NEURONS = {
    "synaptic_lif": "synaptic LIF",
    "alif": "ALIF",
    "radlif": "RadLIF",
    "silif": "SiLIF",
    "brf": "BRF",
}
COLOURS = {
    "se_adlif": BLUE,
    "ef_adlif": GREEN,
    "lif": ORANGE,
    "synaptic_lif": YELLOW,
    "alif": PURPLE,
    "radlif": SKY,
    "silif": BLACK,
    "brf": VERMILION,
}
