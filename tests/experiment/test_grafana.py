import configparser
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema
import pytest

from tune_encoder.cli import main
from tune_encoder.config import read_yaml
from tune_encoder.experiment.grafana import commands, dashboard, write_grafana
from tune_encoder.experiment.metrics import EXPERIMENT, METRICS, targets_folder
from tune_encoder.system.ports import LOOPBACK

SCHEMA = read_yaml(Path(__file__).with_name("grafana_schema.yaml"))
# What Ray's page adds to the address of a panel that it shows: ray/dashboard/client.
SET_BY_RAY = {"datasource", "SessionName"}


def read(file):
    return read_yaml(file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "it costs $5"
    write_grafana(folder, folder.parent / "targets", folder.parent / "ray")
    return folder


def queries(made):
    return [target["expr"] for panel in made["panels"] for target in panel["targets"]]


def metrics_in(query):
    return set(re.findall(r"\bray_\w+", query))


def test_the_dashboard_keeps_to_the_schema_of_grafana(folder):
    made = json.loads((folder / "dashboards" / "tune_encoder.json").read_text())

    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(made, SCHEMA)
    assert made == dashboard()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda made: made["panels"][0].update(titel="Best"), "'titel' was unexpected"),
        (lambda made: made["panels"][0]["gridPos"].update(w=25), "greater than the maximum of 24"),
        (lambda made: made["templating"]["list"][0].update(type="source"), "is not one of"),
        (lambda made: made.pop("schemaVersion"), "'schemaVersion' is a required property"),
    ],
)
def test_a_dashboard_that_grafana_would_misread_is_refused(spoil, said):
    made = dashboard()
    spoil(made)

    with pytest.raises(jsonschema.ValidationError, match=said):
        jsonschema.validate(made, SCHEMA)


def test_the_dashboard_shows_every_metric_and_no_other():
    shown = set().union(*map(metrics_in, queries(dashboard())))

    assert shown == {metric.exported for metric in METRICS}


def test_each_panel_tells_the_values_of_its_metric_apart_and_names_them():
    known = {metric.exported: metric for metric in METRICS}
    for panel in dashboard()["panels"]:
        (target,) = panel["targets"]
        (name,) = metrics_in(target["expr"])
        tags = [tag for tag in (EXPERIMENT, known[name].tag) if tag]
        assert f" by ({', '.join(tags)}) (" in target["expr"]
        assert re.findall(r"{{(\w+)}}", target["legendFormat"]) == tags
        assert ("rate(" in target["expr"]) == known[name].counts


def test_the_panels_can_be_shown_by_rays_page_and_do_not_overlap():
    made = dashboard()
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in made["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    variables = {each["name"] for each in made["templating"]["list"]}

    assert len(cells) == len(set(cells))
    assert [panel["id"] for panel in made["panels"]] == [*range(1, len(made["panels"]) + 1)]
    assert variables >= SET_BY_RAY
    used = set().union(*(re.findall(r"\$(\w+)", query) for query in queries(made)))
    assert used == {EXPERIMENT, "SessionName", "__rate_interval"}


def test_grafana_is_open_to_nobody_but_this_machine_and_changed_by_nobody(folder):
    ini = configparser.ConfigParser(interpolation=None)
    ini.read(folder / "grafana.ini")

    assert ini["server"]["http_addr"] == LOOPBACK
    assert ini["paths"]["provisioning"] == str(folder / "provisioning")
    assert ini["security"].getboolean("allow_embedding")
    assert (ini["auth.anonymous"]["org_role"], ini["auth"]["disable_login_form"]) == (
        "Viewer",
        "true",
    )
    assert not ini["auth.basic"].getboolean("enabled")


def test_grafana_finds_prometheus_and_the_dashboards(folder):
    (source,) = read(folder / "provisioning" / "datasources" / "prometheus.yaml")["datasources"]
    providers = read(folder / "provisioning" / "dashboards" / "tune_encoder.yaml")["providers"]
    ours, of_ray = (each["options"]["path"].replace("$$", "$") for each in providers)
    prometheus, grafana = commands(folder)

    assert "it costs $$5" in providers[0]["options"]["path"]  # of $5 Grafana would make nothing
    assert Path(ours).samefile(folder / "dashboards")
    assert of_ray == str(folder.parent / "ray")
    assert f"--web.listen-address={urlsplit(source['url']).netloc}" in prometheus
    assert source["url"].startswith(f"http://{LOOPBACK}:")
    assert f"--config={folder / 'grafana.ini'}" in grafana
    chosen = dashboard()["templating"]["list"][0]
    assert chosen["current"]["value"] == source["name"]


def test_prometheus_accepts_its_configuration(folder):
    if not (tool := shutil.which("promtool")):
        pytest.skip("no promtool here; install Debian's package prometheus")
    config = folder / "prometheus.yaml"
    done = subprocess.run([tool, "check", "config", config], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr + done.stdout
    (scraped,) = read(config)["scrape_configs"]
    assert scraped["file_sd_configs"][0]["files"] == [f"{folder.parent / 'targets'}/*.json"]


def test_the_command_says_how_to_start_both(tmp_path, say_line):
    code, said, _ = say_line("dashboard", "--grafana", str(tmp_path / "made"))

    assert code == 0
    lines = said.splitlines()
    assert lines[0] == f"wrote {tmp_path / 'made'}; start both, each in a terminal:"
    assert [shlex.split(line) for line in lines[1:3]] == commands(tmp_path / "made")
    assert lines[3] == "then open http://127.0.0.1:3000/d/tune-encoder"
    (scraped,) = read(tmp_path / "made" / "prometheus.yaml")["scrape_configs"]
    assert scraped["file_sd_configs"][0]["files"] == [f"{targets_folder()}/*.json"]


@pytest.fixture
def say_line(capsys):
    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main([*words])
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name the experiment to show, or write files for Grafana with --grafana DIR"),
        (
            ("mine", "--grafana", "new"),
            "--grafana writes files for all experiments; leave out the name and --open",
        ),
        (
            ("--grafana", "new", "--open"),
            "--grafana writes files for all experiments; leave out the name and --open",
        ),
        (
            ("--grafana", "full"),
            "full: exists and is not empty; remove it or name another folder",
        ),
    ],
)
def test_what_it_cannot_write_it_says_in_one_line(words, said, tmp_path, monkeypatch, say_line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("of a person")

    assert say_line("dashboard", *words) == (2, "", f"tune-encoder: {said}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
