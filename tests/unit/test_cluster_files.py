"""The files of cluster/: valid for Ray and KubeRay, pinned like pyproject.toml, closed to the outside, large enough."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from ruamel.yaml import YAML

from w2v2_ray.orchestration.submission.request import surroundings
from w2v2_ray.spec.job import TrainJob
from w2v2_ray.spec.loading import load_job

REPOSITORY = Path(__file__).resolve().parents[2]
CLUSTER = REPOSITORY / "cluster"
RAY_UP = ["aws.yaml", "gcp.yaml"]
KUBERAY = ["kuberay/rayjob.yaml", "kuberay/raycluster-autoscaler.yaml"]
SCHEMAS = {"RayJob": "kuberay_rayjobs_v1.json", "RayCluster": "kuberay_rayclusters_v1.json"}
TEXTS = sorted(path for path in CLUSTER.rglob("*") if path.is_file())
JOBS = sorted(set(REPOSITORY.glob("jobs/*.yaml")) - {REPOSITORY / "jobs/runtime_env.yaml"})
SPOT_KEYS = {
    "cloud.google.com/gke-spot",
    "eks.amazonaws.com/capacityType",
    "kubernetes.azure.com/scalesetpriority",
}


def read(name: str) -> dict[str, Any]:
    content = YAML(typ="safe").load(CLUSTER / name)
    assert isinstance(content, dict)
    return content


def cluster_spec(name: str) -> dict[str, Any]:
    spec = read(name)["spec"]
    return spec.get("rayClusterSpec", spec)


def closed(schema: Any) -> Any:
    """A Kubernetes schema as the API server reads it: unknown fields are mistakes, int-or-string is either."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: closed(value) for key, value in schema.items() if not key.startswith("x-kubernetes")}
    if "properties" in plain and not schema.get("x-kubernetes-preserve-unknown-fields"):
        plain.setdefault("additionalProperties", False)
    return plain


@pytest.mark.parametrize("name", [*RAY_UP, "local-autoscaling.yaml"])
def test_ray_takes_the_file(name):
    """Ray's own schema and rules, with Ray's defaults filled in as `ray up` does (it has none for one machine)."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = read(name)
    validate_config(config)
    if name in RAY_UP:
        validate_config(prepare_config(config))


def test_rays_schema_refuses_a_misspelt_field():
    from ray.autoscaler._private.util import validate_config

    with pytest.raises(jsonschema.ValidationError):
        validate_config(read("aws.yaml") | {"idle_timeout_minuts": 5})


@pytest.mark.shared
@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_takes_the_file(name, shared_dir: Path):
    document = read(name)
    schema = json.loads((shared_dir / "schemas" / SCHEMAS[document["kind"]]).read_text())
    # `jsonschema.validate` would check the schema itself too, which takes 8 s each time.
    validator = jsonschema.Draft202012Validator(closed(schema))
    assert list(validator.iter_errors(document)) == []
    document["spec"]["enableInTreeAutoscalling"] = True
    assert len(list(validator.iter_errors(document))) == 1


def versions() -> tuple[SpecifierSet, SpecifierSet]:
    """Of Ray and of Python, as pyproject.toml has them."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (ray,) = [entry for entry in map(Requirement, project["dependencies"]) if entry.name == "ray"]
    return ray.specifier, SpecifierSet(project["requires-python"])


def images() -> dict[str, str]:
    found = {}
    for path in TEXTS:
        for image in re.findall(r"^\s*(?:image:|FROM|docker build .* -t)\s+(\S+)", path.read_text(), re.MULTILINE):
            found[f"{path.relative_to(CLUSTER)}: {image}"] = image
    return found


def test_images_have_the_ray_and_python_of_pyproject():
    ray, python = versions()
    found = images()
    assert len({name.split(":")[0] for name in found}) == 5
    for name, image in found.items():
        match = re.search(r"ray[:/]?(?:ray:)?(\d+\.\d+\.\d+)-py(\d)(\d+)", image)
        assert match, name
        assert ray.contains(match[1]), name
        assert python.contains(f"{match[2]}.{match[3]}"), name
    assert {re.search(r"\d+\.\d+\.\d+-py\d+", image)[0] for image in found.values()} == {"2.60.0-py311"}


@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_is_told_the_version_of_the_image(name):
    ray, _ = versions()
    assert ray.contains(cluster_spec(name)["rayVersion"])


def test_images_carry_the_version_of_the_package():
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    own = [image for image in images().values() if "w2v2-ray" in image]
    assert own
    assert all(f":{version}-ray" in image for image in own)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_there_are_no_secrets(path):
    text = path.read_text()
    patterns = (
        r"AKIA[0-9A-Z]{16}",
        r"-----BEGIN",
        r"(?i)(secret_?access_?key|password|passwd|api_?key|auth_?token|client_?secret)\s*[:=]\s*['\"]?[A-Za-z0-9+/]{8,}",
        r"\b[0-9a-fA-F]{32,}\b(?<!fffff00000)",
    )
    assert not [found for pattern in patterns for found in re.findall(pattern, text)]


def node_types(name: str) -> dict[str, tuple[dict[str, float], int]]:
    """Resources and greatest number of every type of worker node."""
    if name in KUBERAY:
        found = {}
        for group in cluster_spec(name)["workerGroupSpecs"]:
            (container,) = group["template"]["spec"]["containers"]
            limits = container["resources"]["limits"]
            resources = {"CPU": float(limits["cpu"]), "GPU": float(limits.get("nvidia.com/gpu", 0))}
            found[group["groupName"]] = (resources, group["maxReplicas"])
        return found
    config = read(name)
    types = config["available_node_types"]
    return {
        kind: (entry["resources"], entry.get("max_workers", 0))
        for kind, entry in types.items()
        if kind != config["head_node_type"]
    }


@pytest.mark.parametrize("name", [*RAY_UP, *KUBERAY])
@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_the_workers_of_every_job_fit_the_nodes(name, path):
    job = load_job(path).job
    if not isinstance(job, TrainJob):
        pytest.skip("a sweep: its trials are those of its base job")
    wanted = {"CPU": job.worker.cpus, "GPU": 0 if job.worker.gpus == "auto" else job.worker.gpus}
    room = 0
    for resources, count in node_types(name).values():
        fitting = [resources.get(kind, 0) // amount for kind, amount in wanted.items() if amount]
        room += int(min(fitting)) * count
    assert room >= job.elastic.min_workers


@pytest.mark.parametrize("name", RAY_UP)
def test_spot_nodes_are_started_first_and_on_demand_ones_where_there_are_none(name):
    """Asked of the scheduler that `ray up` starts, Ray's autoscaler of version 2."""
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil

    config = AutoscalingConfig(read(name), skip_content_hash=True)  # the token it mounts may not be here yet
    workers = [ResourceRequestUtil.make({"CPU": 4.0, "GPU": 1.0})] * 2

    def started(availability: dict[str, float]) -> dict[str, int]:
        request = SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=config.get_node_type_configs(),
            max_num_nodes=config.get_max_num_nodes(),
            resource_requests=ResourceRequestUtil.group_by_count(workers),
            cloud_resource_availabilities=availability,
            recoverable_resource_availabilities=availability,
        )
        launches = ResourceDemandScheduler().schedule(request).to_launch
        return {launch.instance_type: launch.count for launch in launches if launch.instance_type != "head"}

    assert started({}) == {"gpu_spot": 2}
    assert started({"gpu_spot": 0.0}) == {"gpu_on_demand": 2}


@pytest.mark.parametrize("name", RAY_UP)
def test_workers_are_spot_machines_from_none_to_several(name):
    types = read(name)["available_node_types"]
    spot, fallback = types["gpu_spot"], types["gpu_on_demand"]
    assert (spot["min_workers"], fallback["min_workers"]) == (0, 0)
    assert spot["max_workers"] > 1
    assert "spot" in json.dumps(spot["node_config"]).lower()
    assert "spot" not in json.dumps(fallback["node_config"]).lower()
    assert spot["resources"] == fallback["resources"]
    assert types["head"]["resources"] == {"CPU": 0}


def test_workers_of_aws_have_a_role_of_their_own_for_buckets():
    """`ray up` gives one to the head alone."""
    types = read("aws.yaml")["available_node_types"]
    for kind in ("gpu_spot", "gpu_on_demand"):
        assert types[kind]["node_config"]["IamInstanceProfile"] == {"Name": "EDIT-INSTANCE-PROFILE"}


def test_nodes_of_gcp_are_in_a_network_with_a_firewall_and_workers_have_an_account_for_buckets():
    text = (CLUSTER / "gcp.yaml").read_text()
    rules = re.findall(r"firewall-rules create (\S+)", text)
    assert len(rules) == 2
    assert "--source-ranges=0.0.0.0/0" not in text
    (tag,) = set(re.findall(r"--target-tags=(\S+)", text))
    for kind, entry in read("gcp.yaml")["available_node_types"].items():
        node = entry["node_config"]
        assert node["tags"] == {"items": [tag]}
        (interface,) = node["networkInterfaces"]
        assert "accessConfigs" not in interface  # a public address
        assert ("serviceAccounts" in node) == (kind != "head")


def test_the_image_has_all_that_published_specs_name():
    copied = set(re.findall(r"^COPY --chown=\S+ (.+) /opt", (CLUSTER / "image/Dockerfile").read_text(), re.MULTILINE))
    names = {name for line in copied for name in line.split()}
    assert {"w2v2_ray", "jobs", "tune_spaces", "pyproject.toml", "setup.py"} <= names


def test_the_cluster_on_one_machine_asks_for_a_token_like_all_others():
    (commands,) = re.findall(r"## On one machine\n(.*?)\n## ", (REPOSITORY / "docs/cluster.md").read_text(), re.DOTALL)
    assert commands.index("RAY_AUTH_MODE=token") < commands.index("ray start --head")


@pytest.mark.parametrize("name", KUBERAY)
def test_pods_of_kuberay_are_spot_from_none_with_shared_memory(name):
    spec = cluster_spec(name)
    assert spec["enableInTreeAutoscaling"] is True
    (group,) = spec["workerGroupSpecs"]
    assert (group["minReplicas"], group["replicas"]) == (0, 0)
    assert group["maxReplicas"] > 1
    pod = group["template"]["spec"]
    assert {toleration["key"] for toleration in pod["tolerations"]} >= SPOT_KEYS
    memory = {volume["name"] for volume in pod["volumes"] if volume.get("emptyDir", {}).get("medium") == "Memory"}
    (container,) = pod["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert mounts["/dev/shm"] in memory
    assert {mount["mountPath"] for mount in container["volumeMounts"]} >= {"/mnt/w2v2", "/mnt/cache"}
    names = {volume["name"] for volume in pod["volumes"]}
    assert set(mounts.values()) == names


def test_the_rayjob_retries_and_goes_away():
    spec = read("kuberay/rayjob.yaml")["spec"]
    assert spec["backoffLimit"] >= 1
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["entrypoint"].split()[:3] == ["python", "-m", "jobs.train"]
    assert (REPOSITORY / spec["entrypoint"].split()[3]).is_file()
    (environment,) = [YAML(typ="safe").load(spec["runtimeEnvYAML"])]
    assert environment["env_vars"] == surroundings(str(REPOSITORY), None, None).runtime_env["env_vars"]
    assert (
        f"WORKDIR {environment['working_dir'].removeprefix('local://')}" in (CLUSTER / "image/Dockerfile").read_text()
    )


@pytest.mark.parametrize("name", RAY_UP)
def test_dashboards_listen_on_localhost_and_nodes_on_the_private_network(name):
    config = read(name)
    (start,) = [line for line in config["head_start_ray_commands"] if "ray start" in line]
    assert "--dashboard-host=127.0.0.1" in start
    assert config["provider"]["use_internal_ips"] is True
    starts = [
        line for part in ("head", "worker") for line in config[f"{part}_start_ray_commands"] if "ray start" in line
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in line for line in starts)
    assert all(mount.endswith("/.ray/auth_token") for mount in config["file_mounts"])
    for rule in config["provider"].get("security_group", {}).get("IpPermissions", []):
        assert (rule["FromPort"], rule["ToPort"]) == (22, 22)
        assert all(entry["CidrIp"].startswith("10.") for entry in rule["IpRanges"])


@pytest.mark.parametrize("name", KUBERAY)
def test_kubernetes_opens_nothing_to_the_outside(name):
    spec = cluster_spec(name)
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert spec["authOptions"] == {"mode": "token"}
    text = (CLUSTER / name).read_text()
    assert "hostNetwork" not in text
    assert "hostPort" not in text
    policy = read("kuberay/network-policy.yaml")
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert all("ipBlock" not in source for rule in policy["spec"]["ingress"] for source in rule["from"])


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_nothing_listens_on_all_addresses(path):
    assert not re.search(r"(?<![\d.])0\.0\.0\.0", path.read_text())


def test_the_shared_folder_is_where_jobs_look_for_it():
    root = surroundings(str(REPOSITORY), None, None).root
    for name in RAY_UP:
        assert f"--volume {root}:{root}" in read(name)["docker"]["run_options"]
    for name in KUBERAY:
        spec = cluster_spec(name)
        for pod in (spec["headGroupSpec"]["template"], spec["workerGroupSpecs"][0]["template"]):
            (container,) = pod["spec"]["containers"]
            assert root in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_the_documentation_names_every_file():
    text = (REPOSITORY / "docs/cluster.md").read_text()
    described = [path for path in TEXTS if "grafana" not in path.parts]
    assert len(described) >= 7
    for path in described:
        assert str(path.relative_to(REPOSITORY)) in text, path
