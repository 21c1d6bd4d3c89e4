"""score.py: the golden requests, answered in this process, and by Microsoft's own inference server."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import free_port
from lakewright.errors import DataError, ModelError
from lakewright.service.server.refusals import Refused
from lakewright.targets.azureml import score
from lakewright.targets.azureml.endpoint import BATCH_CODE, ONLINE_CODE

# All that the server lends from this environment: what a predictor needs, and nothing that trains.
NEEDED = ("numpy", "numpy.libs", "onnxruntime", "tokenizers", "yaml")


@pytest.fixture
def place(greeter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Azure ML keeps a registered folder: …/NAME/VERSION/the folder."""
    (tmp_path / "azureml-models" / "greetings" / "1").mkdir(parents=True)
    (tmp_path / "azureml-models" / "greetings" / "1" / "model").symlink_to(greeter)
    found = tmp_path / "azureml-models" / "greetings" / "1"
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(found))
    return found


def samples(greeter: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    told = json.loads((greeter / "samples.json").read_text())
    return told["rows"], told["predictions"]["onnx"]


def requests(rows: list[dict[str, Any]]) -> dict[str, Any]:
    texts = [row["text"] for row in rows]
    return {
        "split": {"dataframe_split": {"columns": ["text"], "data": [[text] for text in texts]}},
        "records": {"dataframe_records": rows},
        "instances": {"instances": rows},
        "texts": {"texts": texts, "probabilities": True},
        "rows": {"rows": rows, "probabilities": True},
    }


def same(answer: dict[str, Any], predictions: list[dict[str, Any]]) -> bool:
    """What the model said when it was made: every value of it, and of the plain protocol's answers, abstain beside."""
    kept = [{key: value for key, value in one.items() if key != "abstain"} for one in answer["predictions"]]
    return kept == predictions


@pytest.mark.parametrize("form", ["split", "records", "instances", "texts", "rows"])
def test_the_golden_requests(form: str, place: Path, greeter: Path) -> None:
    score.init()
    rows, predictions = samples(greeter)
    assert same(score.run(json.dumps(requests(rows)[form])), predictions)


def test_what_cannot_be_read_is_refused(place: Path) -> None:
    score.init()
    (predictor,) = score._opened
    for body in (b"{", b"[]", b'{"texts": 1}', b'{"instances": [{"txt": "a"}]}', b'{"inputs": 1}'):
        with pytest.raises(DataError):
            score.answered(predictor, body)
    with pytest.raises(Refused, match="more than 1,000 rows"):
        score.answered(predictor, json.dumps({"texts": ["a"] * 1001}).encode())


def test_no_model_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no model folder"):
        score.model_folder(tmp_path)


def test_a_batch_of_files(place: Path, greeter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, predictions = samples(greeter)
    output = tmp_path / "output"
    output.mkdir()
    monkeypatch.setenv("AZUREML_BI_OUTPUT_PATH", str(output))
    contents = {
        "a.csv": "text\n" + "".join(f'"{row["text"]}"\n' for row in rows),
        "b.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "c.json": json.dumps({"instances": rows}),
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    code = module(tmp_path / "batch.py", BATCH_CODE)
    code.init()
    files = [str(tmp_path / name) for name in contents]
    assert code.run(files) == files
    code.run(files[:1])  # tried again: written again, not beside
    written = sorted(output.iterdir())
    assert [path.name[:2] for path in written] == ["a.", "b.", "c."]
    for path in written:
        said = [json.loads(line) for line in path.read_text().splitlines()]
        assert [one["prediction"] for one in said] == predictions and [one["row"] for one in said] == rows
    (tmp_path / "d.txt").write_text("?")
    with pytest.raises(DataError, match="is not a file of rows"):
        code.run([str(tmp_path / "d.txt")])


def module(path: Path, code: str) -> Any:
    """The scoring script, loaded as Azure ML's server loads it: from its file."""
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("entry_module", path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="session")
def server_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has azureml-inference-server-http, the wheel and NEEDED."""
    folder = tmp_path_factory.mktemp("inference server")
    venv.create(folder, symlinks=True, with_pip=True)
    install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "azureml-inference-server-http"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"azureml-inference-server-http cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    for name in NEEDED:
        lent = Path(sysconfig.get_path("platlib")) / name
        if lent.exists() and not (site / name).exists():
            (site / name).symlink_to(lent)
    return folder / "bin"


@pytest.fixture
def server(server_environment: Path, place: Path, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "score.py").write_text(ONLINE_CODE)
    port = free_port()
    command = [server_environment / "python", "-m", "azureml_inference_server_http", "--port", str(port)]
    command += ["--entry_script", str(tmp_path / "score.py"), "--model_dir", str(place)]
    log = tmp_path / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=tmp_path, stdout=file, stderr=file, start_new_session=True, env={"PATH": os.environ["PATH"]}
        )
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise AssertionError(log.read_text())
        yield f"http://127.0.0.1:{port}/score"
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def ask(url: str, body: bytes) -> tuple[int, Any]:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read())


@pytest.mark.slow
def test_azures_inference_server_answers_the_golden_requests(
    server: str, server_environment: Path, greeter: Path
) -> None:
    rows, predictions = samples(greeter)
    for form, body in requests(rows).items():
        status, answer = ask(server, json.dumps(body).encode())
        assert status == 200 and same(answer, predictions), (form, answer)
    status, answer = ask(server, b'{"texts": 1}')
    assert status == 400 and "texts" in answer["error"]["cause"] + answer["error"]["remedy"]
    assert ask(server, json.dumps({"instances": rows * 600}).encode())[0] == 413
    for trainer in ("torch", "transformers", "mlflow", "pandas"):
        done = subprocess.run(
            [server_environment / "python", "-c", f"import {trainer}"], capture_output=True, check=False
        )
        assert done.returncode != 0, f"the server could have used {trainer}"
