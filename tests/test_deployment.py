"""The files of docs/deploy are well-formed, say what docs say, and give commands that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paxlock.cli.serve import serve_command

FOLDER = Path(__file__).parents[1] / "docs" / "deploy"


def documents(name: str) -> list[Any]:
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


def parsed(words: list[str]) -> dict[str, Any]:
    """What ``paxlock serve`` makes of its arguments."""
    assert words[0] == "serve"
    return serve_command.make_context("serve", words[1:]).params


def test_kubernetes_manifests_are_valid() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    found = documents("kubernetes.yaml")
    assert [one["kind"] for one in found] == ["Service", "PodDisruptionBudget", "StatefulSet"]
    for one in found:
        kubernetes_validate.validate(one, "1.30", strict=True)


def test_pods_start_at_once_and_find_each_other_before_they_are_ready() -> None:
    service, budget, pods = documents("kubernetes.yaml")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert budget["spec"]["maxUnavailable"] == 1
    spec = pods["spec"]
    assert (spec["replicas"], spec["podManagementPolicy"]) == (3, "Parallel")
    (container,) = spec["template"]["spec"]["containers"]
    settings = parsed(container["args"])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert settings["listen"] == f"0.0.0.0:{ports['paxlock']}"
    assert settings["http"] == f"0.0.0.0:{ports['http']}"
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    for selector in (service["spec"]["selector"], spec["selector"]["matchLabels"]):
        assert selector.items() <= spec["template"]["metadata"]["labels"].items()


def test_the_services_of_compose_are_the_nodes_of_its_cell() -> None:
    (compose,) = documents("compose.yaml")
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    nodes = dict(re.findall(r"(\w+)=(node-\w+):7400", text))
    assert {name: s["environment"]["PAXLOCK_NODE"] for name, s in compose["services"].items()} == {
        name: node for node, name in nodes.items()
    }
    assert {s["volumes"][0].partition(":")[0] for s in compose["services"].values()} == compose[
        "volumes"
    ].keys()


def test_the_image_runs_the_node_itself() -> None:
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    (command,) = re.findall(r"^CMD \[(.*)\]$", text, re.MULTILINE)
    assert parsed(re.findall(r'"([^"]*)"', command))["data_dir"] == "/data"


def test_the_unit_is_one_for_systemd(tmp_path: Path) -> None:
    text = (FOLDER / "paxlock@.service").read_text(encoding="utf-8")
    (command,) = re.findall(r"^ExecStart=\S+/paxlock (.*)$", text, re.MULTILINE)
    assert parsed(command.replace("%i", "a").split())["node_id"] == "a"
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze")
    unit = tmp_path / "paxlock@.service"
    unit.write_text(text.replace("/opt/paxlock/bin/paxlock", sys.executable), encoding="utf-8")
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
