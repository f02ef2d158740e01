"""Networks as NIR files."""

import jax.numpy as jnp
import numpy as np
import pytest

from seadlif_jax.device import DeviceError, device_layers
from seadlif_jax.neurons import LIF, EFAdLIF, SEAdLIF
from tests.helpers import seadlif
from tests.test_device import build

nir = pytest.importorskip("nir", reason="needs nir: pip install nir")
nir_file = pytest.importorskip("seadlif_jax.interop.nir_file")


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        for field, value in other._asdict().items():
            np.testing.assert_array_equal(getattr(one, field), value, err_msg=field)


@pytest.mark.parametrize("recurrent", [True, False])
def test_a_network_is_read_exactly_as_it_was_written(recurrent, tmp_path):
    network, variables, _ = build(LIF(), tuple(range(3, 15)), recurrent)  # twelve layers: 10 comes after 9
    layers = device_layers(network, variables)
    nir_file.write_nir(layers, tmp_path / "net.nir", step_ms=4.0)
    assert_same(nir_file.read_nir(tmp_path / "net.nir"), layers)


@pytest.mark.parametrize("neuron", [EFAdLIF(), SEAdLIF()])
def test_adaptive_neurons_are_refused_or_in_the_metadata(neuron, tmp_path):
    network, variables, _ = build(neuron)
    layers = device_layers(network, variables)
    with pytest.raises(DeviceError, match="neurons: other libraries would compute another network"):
        nir_file.write_nir(layers, tmp_path / "net.nir")
    assert not (tmp_path / "net.nir").exists()
    nir_file.write_nir(layers, tmp_path / "net.nir", metadata=True)
    assert_same(nir_file.read_nir(tmp_path / "net.nir"), layers)


def test_a_step_of_nir_by_the_explicit_euler_method_is_our_step(tmp_path):
    """A reader of its own, from NIR's equations alone: the nodes, one after the other."""
    network, variables, inputs = build(LIF(tau_u=(3.0, 20.0)))
    nir_file.write_nir(device_layers(network, variables), tmp_path / "net.nir")
    graph = nir.read(tmp_path / "net.nir")
    dt = graph.metadata["dt"]
    outputs, states = network.apply(variables, jnp.asarray(inputs), method="trace")
    v = {name: np.zeros((len(inputs), node.tau.size)) for name, node in graph.nodes.items() if hasattr(node, "tau")}
    z = {name: np.zeros_like(values) for name, values in v.items()}
    for t in range(inputs.shape[1]):
        x = inputs[:, t].astype(float)
        for name in ("layer_0", "layer_1", "readout"):
            node, affine = graph.nodes[name], graph.nodes[f"{name}_input"]
            current = x @ affine.weight.T + affine.bias
            if f"{name}_recurrent" in graph.nodes:
                current += z[name] @ graph.nodes[f"{name}_recurrent"].weight.T
            v[name] += dt / node.tau * (node.v_leak - v[name] + node.r * current)
            if name == "readout":
                break
            z[name] = (v[name] > node.v_threshold).astype(float)
            v[name] = np.where(z[name] > 0, node.v_reset, v[name])
            x = z[name]
            np.testing.assert_array_equal(z[name], states[int(name[-1])].z[:, t])
        np.testing.assert_allclose(v["readout"], outputs[:, t], rtol=1e-4, atol=1e-5)


def test_spikes_are_equal_in_norse(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    norse = pytest.importorskip("norse.torch", reason="needs Norse")
    network, variables, inputs = build(LIF(tau_u=(3.0, 20.0)), (9,), recurrent=True)
    nir_file.write_nir(device_layers(network, variables), tmp_path / "net.nir")
    graph = nir.read(tmp_path / "net.nir")
    # Norse has no LI: the spikes are the output.
    names = [name for name in graph.nodes if "readout" not in name and name != "output"]
    nodes = {name: graph.nodes[name] for name in names} | {"output": nir.Output(np.array([9]))}
    edges = [edge for edge in graph.edges if set(edge) <= set(names)] + [("layer_0", "output")]
    module, state, spikes = norse.from_nir(nir.NIRGraph(nodes, edges), dt=float(graph.metadata["dt"])), None, []
    for t in range(inputs.shape[1]):
        z, state = module(torch.tensor(inputs[:, t], dtype=torch.float32), state)
        spikes.append(z.detach().numpy())
    states = network.apply(variables, jnp.asarray(inputs), method="trace")[1]
    assert states[0].z.mean() > 0.01
    np.testing.assert_array_equal(np.stack(spikes, 1), states[0].z)


def test_another_file_is_refused(tmp_path):
    (tmp_path / "net.nir").write_bytes(b"nothing")
    with pytest.raises(DeviceError, match=r"net\.nir is no network that `seadlif export --format=nir` has written"):
        nir_file.read_nir(tmp_path / "net.nir")


def test_the_command_refuses_adaptive_networks_and_writes_them_on_request(finished_run, tmp_path):
    arguments = ("export", "--workdir", finished_run, "--format=nir", "--output_dir", tmp_path)
    refused = seadlif(*arguments)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: NIR has no se_adlif neurons")
    found = seadlif(*arguments, "--nir_metadata")
    assert not found.returncode, found.stderr
    assert nir_file.read_nir(tmp_path / "network.nir")[0].neuron == "se_adlif"


def test_a_step_without_duration_is_refused(tmp_path):
    with pytest.raises(DeviceError, match=r"step_ms = 0.0: the duration of a step must be positive"):
        nir_file.write_nir((), tmp_path / "net.nir", step_ms=0.0)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DeviceError, match=r"net\.nir: there is no such file"):
        nir_file.read_nir(tmp_path / "net.nir")
