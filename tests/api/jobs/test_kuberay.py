"""The manifest for KubeRay, read as Kubernetes and a shell read it."""

import re
import shlex
import subprocess
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tune_encoder.api.jobs.scripts import _kubernetes_name
from tune_encoder.cli import main
from tune_encoder.config import read_yaml
from tune_encoder.space import load_space
from tune_encoder.tuning.cluster.ray_settings import node_environment

SCHEMA = read_yaml(Path(__file__).parent / "rayjob_schema.yaml")
KUBERNETES = ("1.30", "1.36")  # both, as a field may be too new or gone
GPUS = "resources: {cpus: 4, gpus: 0.5, concurrent: 6}\n"


@pytest.fixture
def manifest(capsys, monkeypatch):
    """The documents that `submit --print kuberay` prints, by kind, and the whole text."""

    def printed(*arguments):
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
        monkeypatch.setenv("RAY_AUTH_TOKEN", "canary")
        with pytest.raises(SystemExit, match="0"):
            main(["submit", "--print", "kuberay", *arguments])
        text = capsys.readouterr().out
        return {each["kind"]: each for each in yaml.safe_load_all(text)}, text

    return printed


def check(documents):
    """Hold the documents against the schemas of KubeRay and Kubernetes; no field is unknown."""
    job = documents["RayJob"]
    jsonschema.validate(job, SCHEMA)
    cluster = job["spec"]["rayClusterSpec"]
    groups = (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    pods = [{"apiVersion": "v1", "kind": "Pod", **group["template"]} for group in groups]
    for document in (documents["PersistentVolumeClaim"], documents["ConfigMap"], *pods):
        for version in KUBERNETES:
            kubernetes_validate.validate(document, version, strict=True)


def test_it_is_a_rayjob_with_every_required_field_and_no_unknown_one(manifest):
    documents, text = manifest("--name", "My_Own.Search" + "x" * 40)

    check(documents)
    assert list(documents) == ["PersistentVolumeClaim", "ConfigMap", "RayJob"]
    assert max(map(len, text.splitlines())) <= 200


def test_it_has_what_the_operator_asks_of_a_cluster_with_a_token(manifest):
    cluster = manifest()[0]["RayJob"]["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]

    assert tuple(map(int, cluster["rayVersion"].split("."))) >= (2, 52)
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_no_two_searches_have_the_same_title():
    long = "voices-2026-convnext-long-crops-seed-"
    names = ["mine-a", "Mine.a", "mine.a", "mine-a-", f"{long}1", f"{long}2", "x" * 64, "x" * 63]

    titles = [_kubernetes_name(name) for name in names]

    assert titles[0] == "search-mine-a"
    assert len(set(titles)) == len(names)
    for title in titles:
        assert re.fullmatch("[a-z]([a-z0-9-]*[a-z0-9])?", title)
        assert len(title) <= 40
    assert re.fullmatch("search-mine-a-[0-9a-f]{6}", titles[1])


def test_the_keys_of_a_bucket_come_from_a_secret_and_stand_nowhere(manifest):
    documents, text = manifest("--name", "mine", "--storage", "s3://bucket/runs")

    check(documents)
    cluster = documents["RayJob"]["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "search-mine-s3"}}]
    assert "kubectl create secret generic search-mine-s3 --from-env-file=FILE" in text
    assert "canary" not in text
    assert "search-mine-s3" not in manifest("--name", "mine")[1]


def test_the_password_of_a_record_comes_from_a_secret_to_the_head_alone(manifest, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "canary")
    kept = ("--storage", "s3://bucket/runs", "--record", "postgresql://me@db/records")
    documents, text = manifest("--name", "mine", *kept)

    check(documents)
    cluster = documents["RayJob"]["spec"]["rayClusterSpec"]
    head, worker = (
        [each["secretRef"]["name"] for each in container_of(group)["envFrom"]]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    )
    assert (head, worker) == (["search-mine-s3", "search-mine-postgresql"], ["search-mine-s3"])
    assert "kubectl create secret generic search-mine-postgresql --from-env-file=FILE" in text
    assert "RUN pip install 'tune-encoder[postgresql]==" in text
    assert "canary" not in text
    without = manifest("--name", "mine", "--record", "sqlite:////mnt/shared/records.db")[1]
    assert "postgresql" not in without
    assert "RUN pip install tune-encoder==" in without


def test_every_pod_is_told_what_undoes_defaults_of_ray_that_harm(manifest):
    cluster = manifest()[0]["RayJob"]["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        told = {each["name"]: each["value"] for each in container_of(group)["env"]}
        assert told.items() >= node_environment().items()
        assert told["RAY_memory_monitor_refresh_ms"] == "0"
        assert told["RAY_enable_metrics_collection"] == "false"


def container_of(group):
    (container,) = group["template"]["spec"]["containers"]
    return container


def test_a_typing_error_in_a_field_of_kuberay_would_be_found(manifest):
    documents, _ = manifest()
    (group,) = documents["RayJob"]["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    group["minReplica"] = group["minReplicas"]

    with pytest.raises(jsonschema.ValidationError, match="'minReplica' was unexpected"):
        check(documents)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"terminationGraceSeconds": 90}, "'terminationGraceSeconds' was unexpected"),
        ({"volumes": [{"persistentVolumeClaim": {"claimName": "a"}}]}, "'name' is a required"),
        ({"volumes": [{"name": "a", "configMap": {"nam": "a"}}]}, "'nam' was unexpected"),
    ],
)
def test_a_typing_error_in_a_field_of_a_pod_would_be_found(manifest, fields, message):
    documents, _ = manifest()
    (group,) = documents["RayJob"]["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    group["template"]["spec"] |= fields

    with pytest.raises(jsonschema.ValidationError, match=message):
        check(documents)


def test_the_token_comes_from_a_secret_and_stands_nowhere(manifest):
    documents, text = manifest("--name", "mine")

    auth = documents["RayJob"]["spec"]["rayClusterSpec"]["authOptions"]
    assert auth == {"mode": "token", "secretName": "search-mine-token"}
    assert "create secret generic search-mine-token --from-file=auth_token=" in text
    assert "canary" not in text


def test_all_that_the_pods_refer_to_is_in_the_manifest(manifest):
    documents, _ = manifest()
    spec = documents["RayJob"]["spec"]["rayClusterSpec"]
    pods = [
        group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])
    ]
    named = {kind: each["metadata"]["name"] for kind, each in documents.items()}

    for pod in pods:
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        (container,) = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        claim = volumes["shared"]["persistentVolumeClaim"]["claimName"]
        assert claim == named["PersistentVolumeClaim"]
        assert volumes["search"]["configMap"]["name"] == named["ConfigMap"]


def test_workers_have_what_the_trials_of_the_space_take(manifest, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text(GPUS + "space: {dropout: {float: [0, 0.5]}}\n")

    documents, text = manifest("--space", str(space))

    check(documents)
    (group,) = documents["RayJob"]["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert (group["replicas"], limits["cpu"], limits["nvidia.com/gpu"]) == (3, "8", "1")
    assert re.search(r"FROM rayproject/ray:\S+-gpu", text)


def test_its_script_begins_the_search_and_after_a_loss_goes_on(manifest, tmp_path):
    root = tmp_path / "a folder"
    what = ("--name", "mine", "--root", str(root), "--data-dir", "my voices", "--trials", "5")
    documents, _ = manifest(*what)
    files = documents["ConfigMap"]["data"]
    (tmp_path / "space.yaml").write_text(files["space.yaml"])
    (tmp_path / "run.sh").write_text(files["run.sh"].replace("exec python", "echo python"))

    def runs():
        command = ["bash", str(tmp_path / "run.sh")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    begun = runs()
    (root / "mine").mkdir(parents=True)
    (root / "mine" / "search.yaml").touch()
    resumed = runs()

    assert load_space(tmp_path / "space.yaml").budget.trials == 5
    assert begun.startswith("python -m tune_encoder search --space /etc/tune-encoder/space.yaml")
    assert "--data-dir /mnt/shared/my voices" in begun
    assert resumed == f"python -m tune_encoder resume mine --root {root} --address auto\n"
    entrypoint = shlex.split(documents["RayJob"]["spec"]["entrypoint"])
    assert entrypoint == ["bash", "/etc/tune-encoder/run.sh"]
