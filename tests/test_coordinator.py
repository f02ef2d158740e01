import socket
import subprocess
import sys

import pytest

from seadlif_jax.parallel.coordinator import CoordinatorError, reserve


@pytest.mark.parametrize("address", ["localhost", "localhost:", ":1234", "localhost:0", "localhost:70000", "a:b"])
def test_what_is_no_address_is_refused(address, tmp_path):
    with pytest.raises(CoordinatorError, match="it must be HOST:PORT"):
        reserve(address, 0, tmp_path)


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_a_port_that_a_foreign_program_listens_on_is_refused(tmp_path):
    with socket.create_server(("localhost", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
        with pytest.raises(CoordinatorError, match=r"the first process cannot listen there .*Address already in use"):
            reserve(address, 0, tmp_path)
        reserve(address, 1, tmp_path)  # who joins finds it listening


def test_without_a_folder_the_address_is_checked_all_the_same():
    """As for a user without a home."""
    reserve(f"localhost:{free_port()}", 0, None)
    with socket.create_server(("localhost", 0)) as server, pytest.raises(CoordinatorError, match="cannot listen"):
        reserve(f"localhost:{server.getsockname()[1]}", 0, None)


def test_a_host_that_is_not_this_machine_is_refused_for_the_first_process(tmp_path):
    with pytest.raises(CoordinatorError, match="give an address of this machine"):
        reserve(f"192.0.2.1:{free_port()}", 0, tmp_path)


@pytest.mark.parametrize("process_id", [0, 1])
def test_a_second_run_at_the_same_address_is_refused(process_id, tmp_path):
    address = f"localhost:{free_port()}"
    reserve(address, process_id, tmp_path)
    code = f"""
from pathlib import Path
from seadlif_jax.parallel.coordinator import reserve
reserve({address!r}, {process_id}, Path({str(tmp_path)!r}))
"""
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"process {process_id} of another run uses it; choose another port" in second.stderr
