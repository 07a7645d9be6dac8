"""The command line as a user meets it: exit codes, one-line errors, JSON, and what each command prints."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image

from jobs.console import Console, run_safely
from jobs.progress import counting
from jobs.versions import version_line
from tests.support.datasets import picture, read_tree, write_tars


def cli(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobs", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", **environment},
        timeout=240,
    )


def job_file(tmp_path: Path, **changes) -> Path:
    tree = {
        "name": "try",
        "source": {"uri": str(tmp_path / "in")},
        "method": {"name": "invert"},
        "output": {"uri": str(tmp_path / "out"), "image": {"format": "png"}},
        "metrics": ["psnr"],
        **changes,
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished job: (job file, output)."""
    folder = tmp_path_factory.mktemp("finished")
    write_tars(folder / "in", 2, 6)
    spec = job_file(folder)
    done = cli("run", spec, "--local", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "done"
    return spec, folder / "out"


def test_help_and_methods_need_no_torch():
    code = (
        "import sys, jobs.cli; from jobs.commands.methods import methods_command; from jobs.console import Console;"
        "methods_command(Console(False), None);"
        "sys.exit(bool({'torch', 'ray', 'diffusers'} & sys.modules.keys()))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert shown.returncode == 0, shown.stderr
    assert "cyclegan_turbo" in shown.stdout
    # The driver of a cluster job needs neither: workers do.
    code = (
        "import sys, pipeline.run.driver; sys.exit(bool({'torch', 'ray', 'pandas', 'diffusers'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    code = "import sys, jobs.cli; sys.exit(bool({'pydantic', 'pyarrow', 'numpy', 'yaml'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_versions_in_use_are_printed_without_importing_them():
    code = (
        "import atexit, os, sys; sys.argv = ['sceneshift', '--version'];"
        "atexit.register(lambda: os._exit(9) if {'torch', 'ray', 'pyarrow'} & sys.modules.keys() else None);"
        "from jobs.cli import main; main()"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    numbers = [f"{name} {importlib.metadata.version(name)}" for name in ("sceneshift", "torch", "ray")]
    assert shown.stdout == f"{numbers[0]}, python {platform.python_version()}, {numbers[1]}, {numbers[2]}\n"


def test_a_version_of_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("jobs.versions._NAMED", ("sceneshift", "torch", "no-such-package"))
    assert version_line().endswith(", no-such-package not installed")


def test_a_plan_needs_no_torch():
    code = "import sys, jobs.commands.plan; sys.exit(bool({'torch', 'ray', 'diffusers'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == 0


def test_one_method_shows_its_presets_and_parameters():
    shown = cli("methods", "cyclegan_turbo")
    assert shown.returncode == 0
    assert "day_to_night" in shown.stdout
    assert "direction" in shown.stdout
    assert "driving" in json.dumps(json.loads(cli("methods", "cyclegan_turbo", "--json").stdout)["presets"])


def test_parameters_come_with_their_meanings():
    shown = " ".join(cli("methods", "cyclegan_turbo").stdout.split())
    assert "Which of the two" in shown
    assert "a2b | b2a" in shown
    listed = cli("objectives").stdout
    assert all(name in listed for name in ("cyclegan_turbo", "piti_base", "ddpm"))
    assert json.loads(cli("objectives", "cyclegan_turbo", "--json").stdout)["steps"] == 25_000
    assert "did you mean 'cyclegan_turbo'" in cli("objectives", "cyclegan_turb").stderr


def test_only_what_has_no_default_is_shown_as_required():
    from jobs.parameters import parameters
    from methods.train.registry import registered as trainable

    model = trainable()["cyclegan_turbo"].params
    shown = {p.name: p.default for p in parameters(model)}
    assert [name for name, default in shown.items() if default is None] == ["caption_a", "caption_b"]


def test_plan_says_what_does_not_fit(tmp_path):
    write_tars(tmp_path / "in", 1, 4)
    spec = job_file(tmp_path)
    cores = os.cpu_count() or 1
    shown = cli("plan", spec, "--set", f"compute.workers={cores + 2}")
    assert f"{cores + 2} workers take turns on {cores} cores" in shown.stderr
    tree = json.loads(cli("plan", spec, "--set", "compute.workers=1", "--json").stdout)
    assert (tree["workers"], tree["fits"]) == ([1, 1], True)


def test_plan_touches_nothing(tmp_path):
    write_tars(tmp_path / "in", 2, 9)
    spec = job_file(tmp_path)
    tree = json.loads(cli("plan", spec, "--json").stdout)
    assert (tree["samples"], tree["shards"], tree["source_files"], tree["exact"]) == (18, 4, 2, True)
    shown = " ".join(cli("plan", spec).stdout.split())
    assert "18 samples" in shown
    assert "captions 'txt'" in shown
    assert not (tmp_path / "out").exists()


def test_running_a_finished_job_says_so(finished):
    spec, _ = finished
    again = cli("run", spec)
    assert again.returncode == 0
    assert re.fullmatch(r"Nothing to do: all of .* is committed \(2 shards\)\.\n", again.stdout)


def test_status_and_verify(finished):
    spec, out = finished
    for where in (spec, out):
        tree = json.loads(cli("status", where, "--json").stdout)
        assert (tree["state"], tree["rows"]["ok"], tree["shards_total"]) == ("finished", 12, 2)
    sound = cli("verify", out)
    assert sound.returncode == 0
    assert "Sound" in sound.stdout
    assert "12 ok" in sound.stdout


@pytest.mark.slow
def test_status_ends_cleanly_every_time(finished):
    """Threads of pyarrow that were still alive at the end aborted about every fourth of these processes."""
    _, out = finished
    assert [cli("status", out, "--json").returncode for _ in range(12)] == [0] * 12


def test_verify_finds_a_flipped_byte(tmp_path):
    write_tars(tmp_path / "in", 1, 4)
    assert cli("run", job_file(tmp_path), "--local").returncode == 0
    data = next((tmp_path / "out" / "data").glob("*.parquet"))
    content = bytearray(data.read_bytes())
    content[content.find(b"IDAT") + 40] ^= 0xFF
    data.write_bytes(bytes(content))
    damaged = cli("verify", tmp_path / "out")
    assert damaged.returncode == 3
    assert "checksum" in damaged.stderr


def test_report_is_one_file_without_network(finished):
    _, out = finished
    assert cli("report", out).returncode == 0
    text = (out / "report" / "index.html").read_text()
    assert not re.search(r"""(src|href)=["']https?:""", text)
    assert "data:image/" in text


def test_preview_writes_a_picture_and_nothing_else(tmp_path):
    write_tars(tmp_path / "in", 1, 4)
    done = cli("preview", job_file(tmp_path), "-n", "2", "-o", tmp_path / "p.png")
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / "p.png").size[0] > 2 * 48
    assert " per picture on this machine" in done.stdout + done.stderr
    assert not (tmp_path / "out").exists()


def test_sample_data_renders_and_runs(tmp_path):
    done = cli("sample-data", tmp_path / "in", "--scenes", "3", "--size", "64x48", "--conditions", "fog", "--seed", "5")
    assert done.returncode == 0, done.stderr
    spec = job_file(tmp_path, source={"uri": str(tmp_path / "in" / "fog" / "*.tar")})
    assert cli("run", spec, "--local").returncode == 0
    exported = cli("export", tmp_path / "out", tmp_path / "coco.json")
    assert exported.returncode == 0, exported.stderr
    coco = json.loads((tmp_path / "coco.json").read_text())
    assert len(coco["images"]) == 3
    assert coco["annotations"]
    exported = cli("export", tmp_path / "out", tmp_path / "yolo", "-f", "yolo", "--splits", "0.67,0.33", "--json")
    assert exported.returncode == 0, exported.stderr
    assert json.loads(exported.stdout)["splits"] == {"train": 2, "val": 1}
    assert len(list((tmp_path / "yolo/labels/train").iterdir())) == 2


def test_too_many_rejects_is_exit_code_1(tmp_path):
    write_tars(tmp_path / "in", 1, 4)
    for path in (tmp_path / "in").glob("*.tar"):
        path.write_bytes(path.read_bytes().replace(b"\xff\xd8\xff", b"\0\0\0"))
    done = cli("run", job_file(tmp_path), "--local")
    assert done.returncode == 1
    assert "4 rejected" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "absent.yaml"], "no such job file"),
        (["run", "{spec}", "--set", "method.nme=x"], "did you mean 'name'"),
        (["run", "{spec}", "--set", "method.name=invrt"], "did you mean 'invert'"),
        (["run", "{spec}", "--set", "source.uri=/no/such/place/*.tar"], "no/such/place"),
        (["run", "{spec}", "--set", "compute.gpus=1", "--set", "method.name=nul"], "null"),
        (["plan", "{spec}", "--set", "metrics=[pnsr]"], "psnr"),
        (["status", "/no/such/output"], "no sceneshift output"),
        (["verify", "/no/such/output"], "no sceneshift output"),
        (["export", "/no/such/output", "{out}"], "no sceneshift output"),
        (["export", "{spec}", "{out}", "--format", "yool"], "did you mean 'yolo'"),
        (["push", "/no/such/output", "hf://owner/name"], "no sceneshift output"),
        (["push", "{spec}", "owner/name"], "hf://owner/name"),
        (["methods", "cyclegan_trubo"], "did you mean 'cyclegan_turbo'"),
        (["sample-data", "{out}", "--conditions", "nihgt"], "night"),
        (["sample-data", "{out}", "--size", "big"], "--size"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(tmp_path, arguments, words):
    write_tars(tmp_path / "in", 1, 2)
    spec = job_file(tmp_path)
    before = read_tree(tmp_path, ".")
    done = cli(*[a.format(spec=spec, out=tmp_path / "new") for a in arguments])
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    if arguments[0] != "frobnicate":
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert read_tree(tmp_path, ".") == before


def test_errors_are_documents_with_json(tmp_path):
    done = cli("run", tmp_path / "absent.yaml", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["exit_code"] == 2


def test_warnings_of_libraries_do_not_reach_the_terminal(tmp_path):
    """A picture whose EXIF data are damaged is a good picture, and Pillow's word on it is in the run's log."""
    exif = Image.Exif()
    exif[0x112], exif[0x10E] = 1, "x" * 300
    out = io.BytesIO()
    Image.fromarray(picture(1)).save(out, "JPEG", exif=exif.tobytes())
    data = bytearray(out.getvalue())
    at = data.index(b"Exif\0\0") + 14
    data[at : at + 16] = b"\xff" * 16
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(data)
    spec = job_file(tmp_path, metrics=[])
    seen = cli("preview", spec, "-n", "1", "-o", tmp_path / "p.png")
    done = cli("run", spec, "--local")
    for each in (seen, done):
        assert each.returncode == 0
        assert "Warning" not in each.stderr
        assert all(line.startswith("sceneshift: ") for line in each.stderr.splitlines())
    logs = "".join(path.read_text() for path in (tmp_path / "out" / "_sceneshift").rglob("*.log"))
    assert "Corrupt EXIF data" in logs


def test_json_is_alone_on_standard_output(capsys):
    def command(console: Console) -> int:
        print("(raylet) a node went away")
        console.result({"done": True})
        return 0

    run_safely(Console(True), command)
    out, err = capsys.readouterr()
    assert json.loads(out) == {"done": True}
    assert "(raylet)" in err


def test_what_is_counted_begins_with_a_number(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """A first picture that is long in coming was announced by the line "pictures" alone."""
    monkeypatch.setattr("jobs.progress.EVERY_SECONDS", 0.001)
    said = ""
    with counting("pictures", quiet=False):
        for _ in range(10_000):
            said += capsys.readouterr().err
            if said:
                break
            time.sleep(0.001)
    assert said == "sceneshift: 0 pictures\n"
