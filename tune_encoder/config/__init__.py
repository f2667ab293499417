"""All settings with their defaults and checks, and the YAML files that contain them."""

from tune_encoder.config.checking import (
    MAX_EXACT_INT,
    allowed_values,
    check_value,
    from_mapping,
    to_mapping,
    unknown_name_message,
)
from tune_encoder.config.export import ExportSettings, RetrainSettings
from tune_encoder.config.launch import LOCAL_LAUNCH, LOCAL_STORAGE, LaunchSettings, StorageSettings
from tune_encoder.config.search import (
    DEFAULT_ROOT,
    BudgetSettings,
    MetricSettings,
    ResourceSettings,
    SchedulerSettings,
    SearcherSettings,
)
from tune_encoder.config.training import (
    DEMO_COUNTS,
    AugmentSettings,
    EncoderSettings,
    FrontendSettings,
    LossSettings,
    OptimSettings,
    RunSettings,
    TrainConfig,
    augmentation_warnings,
    setting,
)
from tune_encoder.config.yaml import (
    MAX_YAML_BYTES,
    MAX_YAML_DEPTH,
    load_config,
    parse_assignment,
    parse_yaml,
    read_yaml,
    write_yaml,
)

__all__ = [
    "DEFAULT_ROOT",
    "DEMO_COUNTS",
    "LOCAL_LAUNCH",
    "LOCAL_STORAGE",
    "MAX_EXACT_INT",
    "MAX_YAML_BYTES",
    "MAX_YAML_DEPTH",
    "AugmentSettings",
    "BudgetSettings",
    "EncoderSettings",
    "ExportSettings",
    "FrontendSettings",
    "LaunchSettings",
    "LossSettings",
    "MetricSettings",
    "OptimSettings",
    "ResourceSettings",
    "RetrainSettings",
    "RunSettings",
    "SchedulerSettings",
    "SearcherSettings",
    "StorageSettings",
    "TrainConfig",
    "allowed_values",
    "augmentation_warnings",
    "check_value",
    "from_mapping",
    "load_config",
    "parse_assignment",
    "parse_yaml",
    "read_yaml",
    "setting",
    "to_mapping",
    "unknown_name_message",
    "write_yaml",
]
