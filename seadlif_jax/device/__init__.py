"""Trained networks for devices: plain C in floating or fixed point, and other libraries' formats."""

from seadlif_jax.device.c_code import write_c
from seadlif_jax.device.fixed_point import FixedPointNetwork, quantize
from seadlif_jax.device.layers import DeviceError, DeviceLayer, device_layers

__all__ = ["DeviceError", "DeviceLayer", "FixedPointNetwork", "device_layers", "quantize", "write_c"]
