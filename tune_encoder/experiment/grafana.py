"""Files with which a Prometheus and a Grafana of this machine show the metrics of searches."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tune_encoder.config import write_yaml
from tune_encoder.experiment.metrics import (
    BEST,
    CLIPS,
    EPOCHS,
    EXPERIMENT,
    FAILURES,
    SAVED,
    SECONDS,
    SKILL,
    TRIALS,
    Metric,
)
from tune_encoder.system.files import atomic_folder, check_empty
from tune_encoder.system.ports import LOOPBACK

PROMETHEUS_PORT, GRAFANA_PORT = 9090, 3000  # their own, where Ray's dashboard looks for them
SCRAPE_S = 10  # as often as Ray sends metrics on
UID, _TITLE = "tune-encoder", "tune-encoder searches"
_SOURCE = "Prometheus"  # as Ray's dashboard calls it
_WIDTH, _HEIGHT = 24, 8  # of Grafana's grid, of a chart
# Of the versions of the format one that Grafana 10 and later read; newer ones adapt it.
_SCHEMA_VERSION = 39
_CHOSEN = f'{{{EXPERIMENT}=~"$experiment",SessionName=~"$SessionName"}}'
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

_INI = """\
[server]
http_addr = {host}
http_port = {port}

[paths]
provisioning = {folder}/provisioning
data = {folder}/grafana

[security]
; for Ray's dashboard, which shows panels in frames
allow_embedding = true

; who can reach this page can look at it, and nobody can change it
[auth]
disable_login_form = true
[auth.basic]
enabled = false
[auth.anonymous]
enabled = true
org_role = Viewer

[analytics]
reporting_enabled = false
check_for_updates = false
check_for_plugin_updates = false
"""


def write_grafana(folder: Path, targets: Path, ray_dashboards: Path) -> None:
    """Write a new folder with the configuration of both programs, and a dashboard of searches.

    Args:
        folder: The new folder, which may exist if it is empty.
        targets: Folder of the files that name what exports metrics.
        ray_dashboards: Folder where Ray writes its own dashboards, parts of which its page shows.

    Raises:
        StorageError: if the folder has files already, or cannot be written.
    """
    check_empty(folder)
    place = folder.absolute()
    with atomic_folder(folder) as partial:
        files = {
            "prometheus.yaml": write_yaml(_prometheus(targets.absolute())),
            "grafana.ini": _INI.format(folder=place, host=LOOPBACK, port=GRAFANA_PORT),
            "provisioning/datasources/prometheus.yaml": write_yaml(_datasources()),
            "provisioning/dashboards/tune_encoder.yaml": write_yaml(
                _providers({_TITLE: place / "dashboards", "Ray": ray_dashboards.absolute()})
            ),
            "dashboards/tune_encoder.json": json.dumps(dashboard(), indent=2) + "\n",
        }
        for name, text in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_text(text, encoding="utf-8")


def commands(folder: Path) -> list[list[str]]:
    """Return the commands that start Prometheus and Grafana with the files, on loopback only."""
    place = folder.absolute()
    prometheus = [
        "prometheus",
        f"--config.file={place / 'prometheus.yaml'}",
        f"--storage.tsdb.path={place / 'prometheus'}",
        f"--web.listen-address={LOOPBACK}:{PROMETHEUS_PORT}",
    ]
    home = "--homepath=/usr/share/grafana"  # where its packages install it
    return [prometheus, ["grafana", "server", home, f"--config={place / 'grafana.ini'}"]]


def _prometheus(targets: Path) -> dict[str, Any]:
    found = {"files": [f"{targets}/*.json"], "refresh_interval": f"{SCRAPE_S}s"}
    scraped = {"job_name": "tune_encoder", "file_sd_configs": [found]}
    return {"global": {"scrape_interval": f"{SCRAPE_S}s"}, "scrape_configs": [scraped]}


def _datasources() -> dict[str, Any]:
    source = {
        "name": _SOURCE,
        "type": "prometheus",
        "access": "proxy",
        "url": f"http://{LOOPBACK}:{PROMETHEUS_PORT}",
        "isDefault": True,
        "jsonData": {"timeInterval": f"{SCRAPE_S}s"},
    }
    return {"apiVersion": 1, "datasources": [source]}


def _providers(folders: Mapping[str, Path]) -> dict[str, Any]:
    providers = [
        # Grafana replaces what follows a single $.
        {"name": name, "type": "file", "options": {"path": str(path).replace("$", "$$")}}
        for name, path in folders.items()
    ]
    return {"apiVersion": 1, "providers": providers}


# --- the dashboard -------------------------------------------------------------------------------


def dashboard() -> dict[str, Any]:
    """Return the dashboard in Grafana's JSON; its variables are those that Ray's page sets."""
    return {
        "uid": UID,
        "title": _TITLE,
        "description": "Searches that were started with --metrics.",
        "tags": ["tune-encoder", "ray"],
        "style": "dark",
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": f"{SCRAPE_S}s",
        "schemaVersion": _SCHEMA_VERSION,
        "version": 1,
        "templating": {"list": _variables()},
        "annotations": {"list": []},
        "links": [],
        "panels": _panels(),
    }


def _variables() -> list[dict[str, Any]]:
    source = {
        "name": "datasource",
        "label": "Source",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
        "current": {"text": _SOURCE, "value": _SOURCE},
    }
    hidden = 2
    return [source, _label(EXPERIMENT, "Experiment", 0), _label("SessionName", "Session", hidden)]


def _label(name: str, shown: str, hide: int) -> dict[str, Any]:
    """A variable whose values are those of a label; all of them unless one is chosen."""
    return {
        "name": name,
        "label": shown,
        "type": "query",
        "datasource": _DATASOURCE,
        "query": f"label_values({TRIALS.exported}, {name})",
        "refresh": 2,  # with the time range
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "hide": hide,
    }


def _panels() -> list[dict[str, Any]]:
    """The panels, which keep their numbers: other pages show some of them by number."""
    stacked = {"stacking": {"mode": "normal"}, "fillOpacity": 40}
    charts = [
        _chart("Best skill", SKILL, _newest(SKILL)),
        _chart("Best objective", BEST, _newest(BEST)),
        _chart("Trials", TRIALS, _newest(TRIALS), **stacked),
        _chart("Epochs per second", EPOCHS, _rate(EPOCHS)),
        _chart("Clips per second", CLIPS, _rate(CLIPS)),
        _chart("Workers by kind of work", SECONDS, _rate(SECONDS), **stacked),
        _chart("Failures", FAILURES, _newest(FAILURES)),
        _chart("Epochs saved by stopping early", SAVED, _newest(SAVED)),
    ]
    columns = 2
    for place, chart in enumerate(charts):
        row, column = divmod(place, columns)
        width = _WIDTH // columns
        chart["id"] = place + 1
        chart["gridPos"] = {"x": column * width, "y": row * _HEIGHT, "w": width, "h": _HEIGHT}
    return charts


def _newest(metric: Metric) -> str:
    """The value, of which a resumed search briefly has two."""
    return f"max by ({_labels(metric)}) ({metric.exported}{_CHOSEN})"


def _rate(metric: Metric) -> str:
    return f"sum by ({_labels(metric)}) (rate({metric.exported}{_CHOSEN}[$__rate_interval]))"


def _labels(metric: Metric) -> str:
    return ", ".join(filter(None, (EXPERIMENT, metric.tag)))


def _chart(title: str, metric: Metric, query: str, **drawn: object) -> dict[str, Any]:
    legend = " ".join(f"{{{{{each}}}}}" for each in (EXPERIMENT, metric.tag) if each)
    return {
        "type": "timeseries",
        "title": title,
        "description": f"{metric.help}.",
        "transparent": False,
        "datasource": _DATASOURCE,
        "targets": [
            {
                "refId": "A",
                "datasource": _DATASOURCE,
                "expr": query,
                "legendFormat": legend,
                "range": True,
            }
        ],
        "fieldConfig": {"defaults": {"unit": "short", "custom": drawn}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "transformations": [],
    }
