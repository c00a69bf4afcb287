"""Installs the base install on an emulated ARM machine and compares its predictions with ours.

    python -m benchmarks.aarch64 --work runs/aarch64 --out results/aarch64 \
        --models float32.tflite int8.tflite --clips corpora/emodb/03a01Fa.wav

debootstrap downloads a small Debian for arm64; PRoot and QEMU run its programs without root and
without changing this machine. Its own Python makes a virtual environment and installs the committed
state of this checkout, as on a Raspberry Pi. Nothing is timed.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from ser_nsl.cli import run_function
from ser_nsl.errors import InputError

_ROOT = Path(__file__).parents[1]

_PACKAGES = {  # program: Debian's package
    "debootstrap": "debootstrap",
    "dpkg-deb": "dpkg",
    "proot": "proot",
    "qemu-aarch64-static": "qemu-user-static",
}

_CPUS = {  # board, and fields of /proc/cpuinfo, by which the runtimes choose their kernels
    "cortex-a72": ("Raspberry Pi 4", "fp asimd evtstrm crc32 cpuid", "0x0", "0xd08", "3"),
    "cortex-a76": (
        "Raspberry Pi 5",
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc "
        "dcpop asimddp",
        "0x4",
        "0xd0b",
        "1",
    ),
}

_SHARED = (  # paths of this machine, for the network
    "/dev",
    "/proc",
    "/sys",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/ssl/certs",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
)

_PROBE = """
import importlib.metadata, json, platform, sys
from ser_nsl.edge import Recognizer
packages = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
print(json.dumps({
    "machine": platform.machine(),
    "python": platform.python_version(),
    "runtime": Recognizer(sys.argv[1]).runtime,
    "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
}))
"""


def main(
    *,
    work: Path,
    models: list[Path],
    clips: list[Path],
    out: Path,
    suite: str = "bookworm",
    cpu: str = "cortex-a72",
) -> str:
    """Installs and predicts on both machines, and compares the probabilities.

    Args:
        work: Folder for Debian, environments and copies, about 1 GB; Debian and the environments
            of this commit stay there for the next run.
        models: Recognisers of `ser-nsl export-tflite`.
        clips: Clips to recognise.
        out: Folder for `aarch64.md` and `aarch64.json`.
        suite: Release of Debian, with its Python.
        cpu: Processor: cortex-a72 as in a Raspberry Pi 4, or cortex-a76 as in a Pi 5.
    """
    check(models, clips, cpu)
    work = work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    system = make_system(work / suite, suite)
    commit = copy_inputs(work, models, clips)
    emulated = emulator(work, system, cpu)
    measured = {
        "commit": commit,
        "emulator": lines("qemu-aarch64-static", "--version")[0],
        "proot": next(line for line in lines("proot", "--version") if "." in line).split()[-1],
        "debian": (system / "etc/debian_version").read_text().strip(),
        "cpu": f"{cpu} ({_CPUS[cpu][0]})",
        "clips": [clip.name for clip in clips],
        "installs": [],
        "predictions": [],
    }
    predicted = []
    for command, base, python in (
        ([], work, sys.executable),
        (emulated, Path("/work"), "/usr/bin/python3"),
    ):
        name = "emulated" if command else "native"
        installed = make_environment(command, python, work / name, base, commit)
        path = base / name / "bin/python"
        first = str(base / "inputs" / models[0].name)
        probed = json.loads(lines(*command, str(path), "-c", _PROBE, first)[-1])
        measured["installs"].append(installed | probed)
        predicted.append(
            [predict([*command, str(path)], base, model.name, clips) for model in models]
        )
    for model, native, there in zip(models, *predicted, strict=True):
        measured["predictions"].append(
            {"runtime": probed["runtime"], "model": model.name} | compare(native, there)
        )
    text = describe(measured)
    out.mkdir(parents=True, exist_ok=True)
    (out / "aarch64.json").write_text(json.dumps(measured, indent=1) + "\n")
    (out / "aarch64.md").write_text(text)
    return text


def check(models: Sequence[Path], clips: Sequence[Path], cpu: str) -> None:
    """Checks programs and arguments before the long work.

    Raises:
        InputError: If a program or file is missing, or the processor is unknown.
    """
    missing = [package for program, package in _PACKAGES.items() if not shutil.which(program)]
    if missing:
        raise InputError(
            f"programs are missing; on Debian and Ubuntu run `apt install {' '.join(missing)}`."
        )
    for path in (*models, *clips):
        if not path.is_file():
            raise InputError(f"{path}: is not a file; check the path.")
    if cpu not in _CPUS:
        raise InputError(f"cpu: must be one of {', '.join(_CPUS)}; received {cpu}.")


def make_system(system: Path, suite: str) -> Path:
    """Downloads and unpacks Debian for arm64 with its Python, unless it is there.

    Its packages are not configured: that takes a quarter of an hour under emulation, and pip works
    without it.

    Raises:
        InputError: If this process is not root, or debootstrap fails.
    """
    if system.exists():
        return system
    if os.geteuid():
        raise InputError("debootstrap needs root; run this once as root, then as anyone.")
    partial = system.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    done = subprocess.run(
        ["debootstrap", "--foreign", "--arch=arm64", "--variant=minbase"]
        + ["--include=python3,python3-venv", suite, str(partial)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise InputError(f"debootstrap failed: {(done.stdout + done.stderr).splitlines()[-1]}")
    for package in sorted((partial / "var/cache/apt/archives").glob("*.deb")):
        files = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", str(package)], capture_output=True, check=True
        )
        subprocess.run(
            ["tar", "-x", "--keep-directory-symlink", "-C", str(partial)],
            input=files.stdout,
            check=True,
        )
        package.unlink()
    if (partial / "proc").is_symlink():  # as debootstrap leaves it in containers
        (partial / "proc").unlink()
        (partial / "proc").mkdir()
    partial.rename(system)
    return system


def copy_inputs(work: Path, models: Sequence[Path], clips: Sequence[Path]) -> str:
    """Copies the committed checkout, models and clips below `work`; returns the commit."""
    for name in ("source", "inputs"):
        shutil.rmtree(work / name, ignore_errors=True)
        (work / name).mkdir()
    archive = subprocess.run(
        ["git", "-C", str(_ROOT), "archive", "HEAD"], capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(work / "source")], input=archive.stdout, check=True)
    for path in (*models, *clips):
        shutil.copy(path, work / "inputs" / path.name)
    return lines("git", "-C", str(_ROOT), "rev-parse", "HEAD")[0]


def emulator(work: Path, system: Path, cpu: str) -> list[str]:
    """Returns the words before a command that run it on the ARM machine, with `work` as `/work`."""
    _, features, variant, part, revision = _CPUS[cpu]
    text = "".join(
        f"processor\t: {i}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: {variant}\nCPU part\t: {part}\n"
        f"CPU revision\t: {revision}\n\n"
        for i in range(os.cpu_count())
    )
    (work / "cpuinfo").write_text(text)
    shared = [*filter(os.path.exists, _SHARED), f"{work / 'cpuinfo'}:/proc/cpuinfo"]
    return [
        *("proot", "-0", "-q", f"qemu-aarch64-static -cpu {cpu}", "-r", str(system)),
        *(word for path in [*shared, f"{work}:/work"] for word in ("-b", path)),
        *("-w", "/work"),
    ]


def make_environment(
    command: Sequence[str], python: str, folder: Path, base: Path, commit: str
) -> dict[str, object]:
    """Runs `python -m venv` and `pip install .` on one machine; returns the installed size.

    An environment that an earlier run has finished from the same commit is used again.
    """
    finished = folder / "installed.json"
    if finished.exists() and (row := json.loads(finished.read_text()))["commit"] == commit:
        return {"installed_mb": row["installed_mb"]}
    shutil.rmtree(folder, ignore_errors=True)
    inside = base / folder.name
    lines(*command, python, "-m", "venv", str(inside))
    before = size(folder)
    source = str(base / "source")
    lines(*command, str(inside / "bin/python"), "-m", "pip", "install", "--no-cache-dir", source)
    installed = {"installed_mb": round((size(folder) - before) / 1e6, 1)}
    finished.write_text(json.dumps(installed | {"commit": commit}))
    return installed


def predict(
    python: Sequence[str], base: Path, model: str, clips: Sequence[Path]
) -> list[dict[str, float]]:
    """Runs `ser-nsl predict` on all clips; returns the probabilities of each."""
    rows = lines(
        *(*python, "-m", "ser_nsl.cli", "predict", "--format", "json"),
        *("--model", str(base / "inputs" / model)),
        *(str(base / "inputs" / clip.name) for clip in clips),
    )
    return [json.loads(row)["probabilities"] for row in rows]


def compare(native: list[dict[str, float]], there: list[dict[str, float]]) -> dict[str, object]:
    """Returns the largest difference of a probability, and how many clips get the same label."""
    pairs = list(zip(native, there, strict=True))
    same = sum(max(a, key=a.get) == max(b, key=b.get) for a, b in pairs)
    largest = max(abs(a[label] - b[label]) for a, b in pairs for label in a)
    return {
        "largest_difference": round(largest, 6),
        "same_label": f"{same} of {len(pairs)}",
        "native": native,
        "aarch64": there,
    }


def lines(*command: str) -> list[str]:
    """Runs a command without the variables of this Python's environment; returns its output.

    Raises:
        InputError: If it fails; its output is in the message.
    """
    left_out = ("PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise InputError(f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}")
    return done.stdout.splitlines()


def size(folder: Path) -> int:
    """Returns the bytes of all files in a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def describe(measured: dict) -> str:
    """Formats the report."""
    tools = ("pip", "setuptools", "ser-nsl", "ser_nsl")
    installs = [
        {
            "machine": row["machine"],
            "Python": row["python"],
            "MB": row["installed_mb"],
            "runtime": row["runtime"],
            "packages": ", ".join(
                f"{name} {version}"
                for name, version in row["packages"].items()
                if name not in tools
            ),
        }
        for row in measured["installs"]
    ]
    predictions = [
        {
            "recogniser": row["model"],
            "runtime": row["runtime"],
            "clips": len(row["native"]),
            "same label": row["same_label"],
            "largest difference": f"{row['largest_difference']:.6f}",
        }
        for row in measured["predictions"]
    ]
    return "\n".join(
        [
            "# The base install on an ARM machine",
            "",
            f"Made by `benchmarks/aarch64.py` from commit {measured['commit'][:12]}: Debian "
            f"{measured['debian']} for arm64 under {measured['emulator']}, as a "
            f"{measured['cpu']}, with PRoot {measured['proot']}. On both machines `python -m "
            "venv`, `pip install .`, then `ser-nsl predict`. No board was at hand, and speed was "
            "not measured: that of an emulator means nothing.",
            "",
            "## What pip installs",
            "",
            "MB counts all files that pip adds to an empty environment, bytecode included.",
            "",
            tabulate(installs, headers="keys", tablefmt="github"),
            "",
            "## Predictions",
            "",
            "Largest difference of a probability between the two machines, with the same runtime; "
            "`ser-nsl predict` prints six decimals.",
            "",
            tabulate(predictions, headers="keys", tablefmt="github", disable_numparse=True),
            "",
        ]
    )


if __name__ == "__main__":
    run_function(main)
