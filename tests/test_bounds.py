import jax.numpy as jnp

from seadlif_jax.nn import bounds


def test_only_neuron_parameters_are_kept_in_boxes():
    far = jnp.array([-7.0, 0.5, 7.0])
    names = ("a", "b", "k_u", "k_w", "kernel", "bias", "recurrent_kernel")
    projected = bounds.project_to_boxes({"layers_0": dict.fromkeys(names, far)})["layers_0"]
    for name in ("a", "k_u", "k_w"):
        assert projected[name].tolist() == [0, 0.5, 1]
    assert projected["b"].tolist() == [0, 0.5, 2]
    for name in ("kernel", "bias", "recurrent_kernel"):
        assert projected[name].tolist() == far.tolist()


def test_modules_that_are_no_neurons_keep_an_a_of_their_own():
    far = jnp.array([-3.0, 3.0])
    params = {"lora": {"a": far}, "list": [far], "neurons": {"k_u": far, "inner": {"b": far}}}
    projected = bounds.project_to_boxes(params)
    assert projected["neurons"]["k_u"].tolist() == [0, 1]
    for leaf in (projected["lora"]["a"], projected["list"][0], projected["neurons"]["inner"]["b"]):
        assert leaf.tolist() == far.tolist()


def test_boxes_may_not_hide_nan():
    assert jnp.isnan(bounds.project_to_boxes({"k_u": jnp.array([jnp.nan])})["k_u"]).all()
