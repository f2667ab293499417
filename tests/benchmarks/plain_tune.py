"""The same search as an engineer writes it in an afternoon, from Ray Tune's documentation.

    python -m tests.benchmarks.plain_tune DATA CONFIGS STORAGE

Each trial has a Dataset and a DataLoader of its own, which compute the mel spectrogram of whole
clips anew in every epoch, and the convolutional encoder of the guide. It prints its figures as
JSON.
"""

import itertools
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EPOCHS, WORKERS = 9, 2


def train(config: dict[str, Any]) -> None:
    """Train one config, as the documentation shows."""
    import librosa
    import numpy as np
    import torch
    from ray import tune
    from torch import nn
    from torch.utils.data import DataLoader, Dataset

    torch.set_num_threads(1)

    class Clips(Dataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
        def __init__(self, folder: Path) -> None:
            self.paths = sorted(folder.glob("*.npz"))

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            with np.load(self.paths[index]) as sample:
                mel = librosa.feature.melspectrogram(
                    y=sample["audio"], sr=24000, n_fft=1024, hop_length=256, n_mels=80
                )
                log_mel = librosa.power_to_db(mel).astype(np.float32)
                ttl, dp = sample["style_ttl"].reshape(-1), sample["style_dp"].reshape(-1)
            return torch.from_numpy(log_mel), torch.from_numpy(ttl), torch.from_numpy(dp)

    def collate(batch: list[Any]) -> tuple[torch.Tensor, ...]:
        longest = max(mel.shape[1] for mel, _, _ in batch)
        mels = [nn.functional.pad(mel, (0, longest - mel.shape[1])) for mel, _, _ in batch]
        return torch.stack(mels), *(torch.stack([each[i] for each in batch]) for i in (1, 2))

    data = Path(config["data"])
    loaders = {
        split: DataLoader(Clips(data / split), 32, shuffle=split == "train", collate_fn=collate)
        for split in ("train", "val")
    }
    widths = [80, 128, 256, 512, 512]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Conv1d(before, after, 5, stride=2, padding=2), nn.BatchNorm1d(after)]
        layers += [nn.ReLU(), nn.Dropout(config["settings"]["dropout"])]
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten())
    heads = nn.ModuleList([nn.Linear(512, 50 * 256), nn.Linear(512, 8 * 16)])
    model = nn.ModuleDict({"body": body, "heads": heads})
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["settings"]["learning_rate"])

    def loss_of(batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        hidden = body(batch[0])
        ttl, dp = (head(hidden) for head in heads)
        both, wanted = torch.cat([ttl, dp], 1), torch.cat([batch[1], batch[2]], 1)
        cosine = 1 - nn.functional.cosine_similarity(both, wanted).mean()
        mse = nn.functional.mse_loss
        return mse(ttl, batch[1]) + mse(dp, batch[2]) + 0.1 * cosine

    for epoch in range(1, EPOCHS + 1):
        model.train()
        for batch in loaders["train"]:
            optimizer.zero_grad()
            loss_of(batch).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            val_loss = float(np.mean([loss_of(batch).item() for batch in loaders["val"]]))
        with tempfile.TemporaryDirectory() as folder:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, Path(folder) / "model.pt")
            checkpoint = tune.Checkpoint.from_directory(folder)
            tune.report({"val_loss": val_loss, "epoch": epoch}, checkpoint=checkpoint)


def main() -> None:
    """Search, and print what it took."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    data, configs, storage = sys.argv[1:]
    began = time.time()
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={
            "data": data,
            "settings": tune.grid_search(json.loads(Path(configs).read_text())),
        },
        tune_config=tune.TuneConfig(
            metric="val_loss",
            mode="min",
            max_concurrent_trials=WORKERS,
            scheduler=ASHAScheduler(
                time_attr="epoch", max_t=EPOCHS, grace_period=2, reduction_factor=3
            ),
        ),
        run_config=tune.RunConfig(name="plain", storage_path=storage, verbose=0),
    )
    results: Any = tuner.fit()
    epochs = sum(each.metrics["epoch"] for each in results)
    print(json.dumps({"wall": time.time() - began, "epochs": epochs}))


if __name__ == "__main__":
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    main()
