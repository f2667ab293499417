"""Training that starts from an exported model, on its own data and on other data."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.fabricate import SMALL_ENCODER, random_encoder, write_model
from tests.training.runs import ignore, tiny, without_clocks
from tests.training.test_run_folder import ignore as ignore_history
from tests.training.test_run_folder import rows_of, weights_sha256
from tests.training.test_run_folder import tiny as tiny_run
from tune_encoder.cli import main
from tune_encoder.config import TrainConfig, load_config
from tune_encoder.data.crops import crop_frames
from tune_encoder.data.demo import make_demo
from tune_encoder.data.pack import open_pack
from tune_encoder.data.packing import pack_data
from tune_encoder.data.scores import score
from tune_encoder.errors import ConfigError, StorageError
from tune_encoder.model.dropout import Dropout
from tune_encoder.model.encoder import Ensemble
from tune_encoder.model.evaluate import CPU
from tune_encoder.model.folder import load_model
from tune_encoder.model.prediction import predict_pack
from tune_encoder.system.manifest import sha256_of
from tune_encoder.training.initial_model import first_encoder, pin_initial_model
from tune_encoder.training.loop import train
from tune_encoder.training.run_folder import read_checkpoint, train_to_folder


@pytest.fixture(scope="module")
def few_dir(tmp_path_factory):
    """Six other voices, fewer than the components of the model's basis."""
    folder = tmp_path_factory.mktemp("few") / "demo"
    make_demo(folder, voices=6, val_voices=3, test_voices=3, seed=11)
    return folder


@pytest.fixture
def model(model_dir, tmp_path):
    """A copy to change."""
    shutil.copytree(model_dir, tmp_path / "model")
    return tmp_path / "model"


def starting(folder, **changes):
    return tiny(init_from=str(folder), num_heads=SMALL_ENCODER.num_heads, **changes)


@pytest.fixture(scope="module")
def trained_model(packed, tmp_path_factory):
    """A model that knows the demo voices a little."""
    config = dataclasses.replace(
        SMALL_ENCODER, hidden_dim=32, epochs=20, learning_rate=1e-2, augment_prob=0.0, device="cpu"
    )
    state = train(config, packed, tmp_path_factory.mktemp("trained"), ignore)
    return write_model(tmp_path_factory.mktemp("model"), config, state.model.state_dict())


def like(folder, **changes):
    config = load_model(folder)[1]
    return dataclasses.replace(config, init_from=str(folder), use_tensorboard=False, **changes)


def test_training_starts_with_the_models_weights_and_statistics(trained_model, packed):
    encoder = first_encoder(like(trained_model, dropout=0.3), packed)

    torch.testing.assert_close(
        encoder.state_dict(), load_file(trained_model / "model.safetensors"), rtol=0, atol=0
    )
    assert {layer.p for layer in encoder.modules() if isinstance(layer, Dropout)} == {0.3}


def test_the_statistics_stay_and_the_weights_move(trained_model, packed, tmp_path):
    before = load_file(trained_model / "model.safetensors")

    state = train(like(trained_model, epochs=2), packed, tmp_path, ignore)

    for name, tensor in state.model.named_buffers():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    for name, tensor in state.model.named_parameters():
        assert not torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("head", ["joint", "pca", "lowrank", "linear", "query"])
def test_where_the_styles_are_of_another_kind_the_last_layer_starts_anew(
    packed, few_dir, cache, tmp_path, head
):
    config = dataclasses.replace(SMALL_ENCODER, head=head)
    encoder = random_encoder(config, packed.statistics)
    write_model(tmp_path, config, encoder.state_dict())
    data = open_pack(pack_data(few_dir, TrainConfig()))

    first = first_encoder(like(tmp_path), data)

    before = encoder.state_dict()
    for name, tensor in first.state_dict().items():
        if not name.startswith("head.") or name.startswith(("head.pool", "head.norm", "head.q")):
            torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    assert not np.allclose(first.mel_mean[:, 0], data.statistics.mel_mean)
    with torch.no_grad():
        ttl, dp = first.eval()(torch.randn(1, 80, 90))
    np.testing.assert_allclose(ttl[0], data.statistics.ttl_mean, atol=1e-6)
    np.testing.assert_allclose(dp[0], data.statistics.dp_mean, atol=1e-6)


def test_the_scores_are_those_of_the_new_data(trained_model, few_dir, cache, tmp_path):
    data = open_pack(pack_data(few_dir, TrainConfig()))
    still = {"learning_rate": 1e-8, "weight_decay": 0.0, "epochs": 1}

    state = train(like(trained_model, **still), data, tmp_path, ignore)

    predicted = predict_pack(state.model, data.val, crop_frames(state.config), CPU)
    expected = score(predicted, data.val.styles, data.statistics, data.known_voices)
    assert state.history[0]["val_loss"] == pytest.approx(expected["loss"], rel=1e-3)


def test_a_run_records_the_model_and_is_resumed_without_it(model, few_dir, cache, tmp_path):
    config = tiny_run(few_dir, tmp_path / "whole", init_from=str(model))
    train_to_folder(config, ignore_history)
    written = load_config(tmp_path / "whole" / "config.yaml", {})
    assert written.init_from == str(model)
    assert written.init_sha256 == sha256_of((model / "model.safetensors").read_bytes())

    class Cut(Exception):
        """What ends the run."""

    def cut(config, history):
        if len(history) == 3:
            raise Cut

    with pytest.raises(Cut):
        train_to_folder(tiny_run(few_dir, tmp_path / "cut", init_from=str(model)), cut)
    shutil.rmtree(model)
    state, _ = read_checkpoint(tmp_path / "cut" / "final_checkpoint.pt")
    resumed = load_config(None, {"checkpoint_dir": str(tmp_path / "cut")}, state["config"])
    train_to_folder(resumed, ignore_history, state)

    assert without_clocks(rows_of(tmp_path / "cut")) == without_clocks(rows_of(tmp_path / "whole"))
    for name in ("best_model.pt", "final_checkpoint.pt"):
        assert weights_sha256(tmp_path / "cut" / name) == weights_sha256(tmp_path / "whole" / name)


def test_the_recorded_config_does_not_train_from_another_model(model, few_dir, cache, tmp_path):
    config = pin_initial_model(starting(model))
    weights = {name: 2 * tensor for name, tensor in load_model(model)[0].state_dict().items()}
    write_model(model, SMALL_ENCODER, weights)

    with pytest.raises(
        StorageError, match=r"model: not the model that training began with, the SHA-256 of its"
    ):
        pin_initial_model(config)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_dim": 16}, r"hidden_dim is 8 there and 16 here; leave out these settings, or st"),
        ({"n_mels": 40, "num_layers": 2}, r"n_mels is 80 there and 40 here, num_layers is 1 there"),
        ({"hop_length": 512}, r"hop_length is 256 there and 512 here"),
        ({"pooling": "mean"}, r"pooling is statistics there and mean here"),
    ],
)
def test_another_network_or_front_end_is_refused_with_the_difference(model_dir, changes, words):
    with pytest.raises(ConfigError, match=rf"init_from is .*model.*: {words}"):
        pin_initial_model(starting(model_dir, **changes))


def test_a_damaged_model_is_refused(model):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"0000")

    with pytest.raises(StorageError, match=r"model: not a usable model \(.*damaged, its SHA-256"):
        pin_initial_model(starting(model))


def test_what_is_no_model_is_refused_with_what_makes_one(model, few_dir, cache, tmp_path):
    (model / "model.safetensors").unlink()
    with pytest.raises(StorageError, match=r"model: no model here; make one with `tune-encoder ex"):
        pin_initial_model(starting(model))

    train_to_folder(tiny_run(few_dir, tmp_path / "run", epochs=1), ignore_history)
    with pytest.raises(StorageError, match=r"run: a run, not a model; make one with `tune-encoder"):
        pin_initial_model(starting(tmp_path / "run"))


def test_an_ensemble_is_refused(packed, tmp_path):
    encoders = [random_encoder(SMALL_ENCODER, packed.statistics) for _ in range(2)]
    write_model(tmp_path, SMALL_ENCODER, Ensemble(encoders).state_dict())
    shutil.copy(tmp_path / "config.yaml", tmp_path / "config_2.yaml")

    with pytest.raises(
        ConfigError,
        match=r"several encoders, not the .*, or this one with --blend none --refit-seeds 1",
    ):
        pin_initial_model(starting(tmp_path))


def test_a_closed_form_is_refused(packed, tmp_path):
    config = dataclasses.replace(SMALL_ENCODER, encoder_type="statistics")
    write_model(tmp_path, config, first_encoder(config, packed).state_dict())

    with pytest.raises(ConfigError, match=r"a closed form, not the single network that training n"):
        pin_initial_model(starting(tmp_path))


def test_in_a_search_from_a_model_the_closed_form_is_fitted_to_the_data(packed, model_dir):
    config = starting(model_dir, encoder_type="statistics")
    without = dataclasses.replace(config, init_from="")

    found, expected = (first_encoder(each, packed) for each in (config, without))

    torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=0, atol=0)


def run(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words)])
    return ended.value.code, capsys.readouterr()


def test_the_command_takes_the_network_of_the_model(model_dir, few_dir, cache, tmp_path, capsys):
    small = ["--set", "crop_seconds=0.5", "--set", "use_tensorboard=false", "--epochs", 1]
    to = ["--data-dir", few_dir, "--init-from", model_dir, "--checkpoint-dir", tmp_path / "run"]

    code, said = run(capsys, "train", *to, *small)

    assert code == 0, said.err
    assert load_config(tmp_path / "run" / "config.yaml", {}).hidden_dim == SMALL_ENCODER.hidden_dim

    to[-1] = tmp_path / "other"
    code, said = run(capsys, "train", *to, *small, "--set", "hidden_dim=32")
    assert code == 2
    assert said.err.count("\n") == 1
    assert "hidden_dim is 8 there and 32 here" in said.err
    assert not (tmp_path / "other").exists()

    to[3] = tmp_path / "nothing"
    code, said = run(capsys, "train", *to, *small)
    assert code == 4
    assert said.err.startswith(f"tune-encoder: init_from is {to[3]}: not an exported model (")
    assert said.err.count("\n") == 1


def test_a_path_in_a_file_is_relative_to_the_file(model, tmp_path):
    (tmp_path / "config.yaml").write_text("init_from: model\n")

    assert load_config(tmp_path / "config.yaml", {}).init_from == str(model)
