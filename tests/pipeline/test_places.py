"""Reading from an object store: moto's S3 server, in a process of its own."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ser_nsl.errors import InputError
from ser_nsl.evaluation.model import evaluate, read_metrics
from ser_nsl.graph import build_graph, pack_neighbors
from ser_nsl.pipeline.places import place
from ser_nsl.pipeline.record import read_record
from ser_nsl.training import TrainingConfig, train_downstream

CHAIN = """
from ser_nsl.evaluation.model import evaluate
from ser_nsl.graph import build_graph, pack_neighbors
from ser_nsl.pipeline.stage import is_current
from ser_nsl.training import TrainingConfig, train_downstream
graphs, packed, trained, scored = {made}
for function, calls in ((build_graph, graphs), (pack_neighbors, packed)):
    for arguments in calls:
        function(**arguments)
for arguments in trained:
    arguments["training"] = TrainingConfig(epochs=1)
    train_downstream(**arguments)
    assert is_current(train_downstream, arguments)
for arguments in scored:
    evaluate(**arguments)
"""


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def environment(port: int) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": "us-east-1"}
    server = {"S3_ENDPOINT": f"http://127.0.0.1:{port}", "S3_USE_HTTPS": "0", "S3_VERIFY_SSL": "0"}
    return os.environ | keys | server


@pytest.fixture
def server(tmp_path):
    """Returns a function that starts a server, and gives its port."""
    started = []

    def start(**settings: str) -> int:
        port = free_port()
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        with (tmp_path / "server.log").open("w") as log:
            process = subprocess.Popen(
                command, env=os.environ | settings, stdout=log, stderr=log, cwd=tmp_path
            )
        started.append(process)
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return port
            except OSError:
                assert process.poll() is None, (tmp_path / "server.log").read_text()
                time.sleep(0.1)

    yield start
    for process in started:
        process.kill()
        process.wait()


def upload(port: int, *folders: Path) -> None:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )
    client.create_bucket(Bucket="corpus")
    for folder in folders:
        for path in filter(Path.is_file, folder.rglob("*")):
            client.upload_file(path, "corpus", f"{folder.name}/{path.relative_to(folder)}")


def run(command: list[str], port: int, folder: Path) -> subprocess.CompletedProcess:
    called = [sys.executable, *command]
    paths = {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        called, env=environment(port) | paths, cwd=folder, capture_output=True, text=True
    )


def test_an_address_survives_paths_and_a_local_path_is_none():
    address = "s3://bucket/features/train-00000-of-00001.tfrecord"
    for path in (place(address), place(Path(address)), place("s3://bucket") / address[12:]):
        assert str(path) == address
    assert str(place(address).parent) == "s3://bucket/features"
    assert str(place("hdfs://host:8020/a")) == "hdfs://host:8020/a"
    assert type(place("features")) is type(Path("features"))


@pytest.mark.parametrize(
    ("argument", "rule"), [("out", "out: .* s3://b/x"), ("model_dir", "model_dir: .* s3://b/x")]
)
def test_what_is_not_read_from_elsewhere_is_refused(argument, rule, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = {"model_dir": "model", "records": "s3://b/features", "out": "metrics.json"}

    with pytest.raises(InputError, match=rule):
        evaluate(**arguments | {argument: "s3://b/x"})
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_network_from_a_store_is_that_from_a_disk(server, finished_chain, tmp_path, monkeypatch):
    shutil.copytree(finished_chain, tmp_path / "chain")
    monkeypatch.chdir(tmp_path / "chain")
    store, forms = "s3://corpus", ("official", "indexed")
    build_graph(embeddings="embeddings", similarity_threshold=0.0, out="local.tsv")
    built = {"embeddings": f"{store}/embeddings", "similarity_threshold": 0.0, "out": "remote.tsv"}
    packed, trained, scored = [], [], []
    for form in forms:
        settings = {"graph": "graph.tsv", "form": form}
        pack_neighbors(features="features", **settings, out=form)
        packed.append({"features": f"{store}/features", **settings, "out": f"remote-{form}"})
        settings = {"model": "cnn6", "out": f"local-{form}", "training": TrainingConfig(epochs=1)}
        train_downstream(features="features", training_records=form, **settings)
        inputs = {"features": f"{store}/features", "training_records": f"{store}/{form}"}
        trained.append({**inputs, "model": "cnn6", "out": f"remote-{form}-model"})
        evaluate(model_dir=f"local-{form}", records="features", out=f"local-{form}.json")
        inputs = {"model_dir": f"remote-{form}-model", "records": f"{store}/features"}
        scored.append({**inputs, "out": f"remote-{form}.json"})
    port = server()
    upload(port, *map(Path, ("features", "embeddings", *forms)))

    ended = run(["-c", CHAIN.format(made=([built], packed, trained, scored))], port, Path.cwd())

    assert ended.returncode == 0, ended.stderr
    assert Path("local.tsv").read_bytes() == Path("remote.tsv").read_bytes()
    for form in forms:
        for path in Path(form).glob("train-*"):
            assert path.read_bytes() == Path(f"remote-{form}", path.name).read_bytes()
        local, remote = Path(f"local-{form}"), Path(f"remote-{form}-model")
        for name in ("model.h5", "last.weights.h5", "description.json", "history.json"):
            assert (local / name).read_bytes() == (remote / name).read_bytes(), name
        assert read_metrics(f"local-{form}.json") == read_metrics(f"remote-{form}.json")
        assert read_record(remote)["paths"]["features"] == "s3://corpus/features"


@pytest.mark.slow
def test_each_kind_of_failure_is_said_in_a_line(server, finished_chain, tmp_path):
    shutil.copytree(finished_chain / "model", tmp_path / "model")
    command = ["-m", "ser_nsl.cli", "evaluate", "--model-dir", "model", "--out", "metrics.json"]
    command += ["--records", "s3://corpus/features"]
    failures = {
        server(): "records: s3://corpus/features does not exist",
        server(INITIAL_NO_AUTH_ACTION_COUNT="0"): "s3://corpus: .* refuses the credentials",
        free_port(): "s3://corpus: .* cannot be reached",
    }
    for port, message in failures.items():
        ended = run(command, port, tmp_path)
        assert ended.returncode == 1, ended.stderr
        (line,) = ended.stderr.splitlines()
        assert all(part in line for part in ("error: ", *message.split(" .* "))), line
    assert not [*tmp_path.glob("*.json")]


def test_a_missing_package_is_named(monkeypatch):
    import tensorflow as tf

    monkeypatch.setitem(sys.modules, "tensorflow_io", None)
    monkeypatch.setattr(tf.io.gfile, "get_registered_schemes", lambda: ["file", "gs"])

    with pytest.raises(InputError, match=r"hdfs://host: .*ser-nsl\[train\]"):
        place("hdfs://host/features").exists()
