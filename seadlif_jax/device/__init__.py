"""Trained networks for devices: plain C, in floating or fixed point."""

from seadlif_jax.device.c_code import CodeSize, write_c
from seadlif_jax.device.fixed_point import FixedPointNetwork, quantize
from seadlif_jax.device.layers import DeviceError, DeviceLayer, device_layers
from seadlif_jax.device.test_vector import draw_test_inputs

__all__ = [
    "CodeSize",
    "DeviceError",
    "DeviceLayer",
    "FixedPointNetwork",
    "device_layers",
    "draw_test_inputs",
    "quantize",
    "write_c",
]
