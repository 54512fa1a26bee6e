"""The manifests of docker/kubernetes render, are valid, and agree with the code that they start."""

import re
import shutil
import subprocess
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from config.dev.embedded import ROOT
from config.environment import Environment
from tests.support.environment_variables import variables_of_the_model

FOLDER = ROOT / "docker/kubernetes"
OVERLAYS = sorted(folder.name for folder in (FOLDER / "overlays").iterdir())
VERSIONS = ("1.31", "1.35")


def kustomize_version() -> int:
    """Return the major version of the kustomize in kubectl; 0 without one."""
    if shutil.which("kubectl") is None:
        return 0
    shown = subprocess.run(["kubectl", "version", "--client"], capture_output=True, text=True, check=False)
    found = re.search(r"Kustomize Version: v(\d+)", shown.stdout)
    return int(found[1]) if found else 0


# That of Debian 12 has kustomize 2, which does not know `labels`, `replicas` and `patches`.
pytestmark = pytest.mark.skipif(kustomize_version() < 5, reason="kubectl 1.27 or newer is not installed")


@cache
def objects(overlay: str) -> list[dict[str, Any]]:
    rendered = subprocess.run(
        ["kubectl", "kustomize", FOLDER / "overlays" / overlay], capture_output=True, text=True, check=True
    )
    return list(yaml.safe_load_all(rendered.stdout))


def of_kind(overlay: str, *kinds: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in objects(overlay) if each["kind"] in kinds}


def pods(overlay: str) -> dict[str, dict[str, Any]]:
    return {name: each["spec"]["template"] for name, each in of_kind(overlay, "Deployment", "Job").items()}


def containers(overlay: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        (name, container)
        for name, pod in pods(overlay).items()
        for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    ]


def config(overlay: str) -> dict[str, str]:
    (found,) = of_kind(overlay, "ConfigMap").values()
    data: dict[str, str] = found["data"]
    return data


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_valid(overlay: str) -> None:
    for version in VERSIONS:
        for each in objects(overlay):
            kubernetes_validate.validate(each, version, strict=True)
    assert {each["metadata"]["namespace"] for each in objects(overlay)} == {"coppice"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_role_of_the_image_is_started_once(overlay: str) -> None:
    entrypoint = (ROOT / "docker/entrypoint.sh").read_text()
    roles = set(re.findall(r"^(\w+)\)$", entrypoint, re.MULTILINE))
    started = [container["args"] for _, container in containers(overlay) if "args" in container]

    assert sorted(started) == sorted([role] for role in roles)
    # Requests may run for as long as the server waits, after the pause of preStop.
    pod = pods(overlay)["web"]["spec"]
    (stop,) = re.findall(r"--stop-seconds (\d+)", entrypoint)
    pause = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pause > 0
    assert pod["terminationGracePeriodSeconds"] >= pause + int(stop) + 5


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_variables_are_those_that_are_read_and_no_secret_is_among_them(overlay: str) -> None:
    assert set(config(overlay)) - {"COPPICE_EMBEDDED"} <= variables_of_the_model()
    secret = {
        f"COPPICE_{name.upper()}"
        for name, field in Environment.model_fields.items()
        if "Secret" in str(field.annotation)
    }
    assert len(secret) > 3
    assert not (secret | {"DATABASE_URL", "REDIS_URL"}) & set(config(overlay))
    assert not of_kind(overlay, "Secret")
    for name, container in containers(overlay):
        assert [list(source) for source in container["envFrom"]] == [["configMapRef"], ["secretRef"]], name
        assert container["envFrom"][1]["secretRef"] == {"name": "coppice"}
        assert "env" not in container


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_have_no_rights_that_they_do_not_need(overlay: str) -> None:
    for name, pod in pods(overlay).items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert f"--uid {spec['securityContext']['runAsUser']} " in (ROOT / "docker/Dockerfile").read_text()
        assert spec["automountServiceAccountToken"] is False
    for name, container in containers(overlay):
        context = container["securityContext"]
        assert (context["readOnlyRootFilesystem"], context["allowPrivilegeEscalation"]) == (True, False), name
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {"memory"} == set(container["resources"]["limits"])
        assert {"mountPath": "/tmp", "name": "tmp"} in container["volumeMounts"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_process_of_a_new_version_starts_before_the_migrations(overlay: str) -> None:
    for name, each in of_kind(overlay, "Deployment").items():
        (waits,) = each["spec"]["template"]["spec"]["initContainers"]
        assert "migrate --check" in waits["command"][2], name
    # Clients are not refused while one version replaces the other.
    strategy = of_kind(overlay, "Deployment")["web"]["spec"]["strategy"]
    if overlay == "small":
        assert strategy == {"type": "Recreate"}
    else:
        assert strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_select_the_pods_of_coppice_alone(overlay: str) -> None:
    labels = [pod["metadata"]["labels"] for pod in pods(overlay).values()]
    policies = of_kind(overlay, "NetworkPolicy")
    chosen = {name: policy["spec"]["podSelector"]["matchLabels"] for name, policy in policies.items()}
    chosen |= {
        name: each["spec"]["selector"].get("matchLabels", each["spec"]["selector"])
        for name, each in of_kind(overlay, "Service", "Deployment", "PodDisruptionBudget").items()
    }
    for name, selector in chosen.items():
        assert selector["app.kubernetes.io/name"] == "coppice", name
        assert any(selector.items() <= each.items() for each in labels), name
    assert policies["deny-all"]["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert set(policies["deny-all"]["spec"]["podSelector"]["matchLabels"]) == {"app.kubernetes.io/name"}


# To which ports Coppice connects for each variable with an address: the usual ones; `_PUBLIC`: any port of a public
# address, which the policies of web and worker permit; None: Coppice does not connect to it.
_PUBLIC = "public"
LEADS_TO: dict[str, set[int] | str | None] = {
    "database_url": {5432, 6432},
    "database_direct_url": {5432},
    "replica_url": {5432, 6432},
    "redis_url": {6379, 26379},
    "broker_url": {5672, 5671},
    **dict.fromkeys(("email_url", "alert_url", "media_s3_endpoint", "oidc_issuer", "raida_hosts"), _PUBLIC),
    **dict.fromkeys(("public_url", "media_url"), None),
}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_policies_permit_connections_to_the_addresses_of_variables(overlay: str) -> None:
    addresses = re.compile(r"_url$|_issuer$|_endpoint$|_hosts$")
    assert {name for name in Environment.model_fields if addresses.search(name)} - {"allowed_hosts"} == set(LEADS_TO)
    policies = of_kind(overlay, "NetworkPolicy")
    (names, servers) = policies["servers"]["spec"]["egress"]
    assert {(each["port"], each["protocol"]) for each in names["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert "to" not in servers
    permitted = {each["port"] for each in servers["ports"] if each["protocol"] == "TCP"}
    assert permitted == set().union(*(ports for ports in LEADS_TO.values() if isinstance(ports, set)))
    for role in ("web", "worker"):
        (public,) = policies[role]["spec"]["egress"]
        assert "ports" not in public, role
    # The port on which web listens, and the one from which its pods are probed.
    (web,) = pods(overlay)["web"]["spec"]["containers"]
    assert {each["port"] for each in policies["web"]["spec"]["ingress"][0]["ports"]} <= {
        each["name"] for each in web["ports"]
    }


def test_the_autoscaler_scales_workers_by_a_metric_that_is_exported() -> None:
    (scaler,) = of_kind("production", "HorizontalPodAutoscaler").values()
    (metric,) = scaler["spec"]["metrics"]

    assert f'"{metric["external"]["metric"]["name"]}"' in (ROOT / "config/ops/metrics.py").read_text()
    assert scaler["spec"]["scaleTargetRef"]["name"] in of_kind("production", "Deployment")
    # Otherwise each `kubectl apply` would set the number back.
    assert "replicas" not in of_kind("production", "Deployment")["worker"]["spec"]
