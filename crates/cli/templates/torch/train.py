"""One trial: an ordinary PyTorch loop with checkpoints. By hand: `python train.py --lr=0.01 --epochs=3`."""

import heats
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

# Outside Heats these are the parameters; a parameter that has no value (`momentum` without sgd) is found here, too.
DEFAULTS = {
    "lr": 1e-3,
    "width": 64,
    "dropout": 0.1,
    "weight_decay": 1e-4,
    "opt": "adamw",
    "momentum": 0.9,
    "epochs": 27,
}


def load_data():
    """Two interleaved spirals: your data goes here. Every trial must see the same data and the same split."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.rand(2000, generator=generator) * 9
    label = torch.arange(2000) % 2
    angle = turn + label * torch.pi
    noise = torch.randn(2000, 2, generator=generator) * 0.15
    points = torch.stack([turn * angle.cos(), turn * angle.sin()], dim=1) / 3 + noise
    return TensorDataset(points[:1500], label[:1500]), TensorDataset(points[1500:], label[1500:])


def build(params, device):
    model = nn.Sequential(
        nn.Linear(2, params.width),
        nn.ReLU(),
        nn.Dropout(params.dropout),
        nn.Linear(params.width, params.width),
        nn.ReLU(),
        nn.Dropout(params.dropout),
        nn.Linear(params.width, 2),
    ).to(device)
    if params.opt == "sgd":
        optimizer = torch.optim.SGD(
            model.parameters(), lr=params.lr, momentum=params.momentum, weight_decay=params.weight_decay
        )
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=params.lr, weight_decay=params.weight_decay)
    return model, optimizer


def train_epoch(model, optimizer, loader, device):
    model.train()
    for points, labels in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(points.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()


@torch.no_grad()
def evaluate(model, loader, device):
    model.eval()
    loss, right, count = 0.0, 0, 0
    for points, labels in loader:
        points, labels = points.to(device), labels.to(device)
        logits = model(points)
        loss += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
        right += (logits.argmax(dim=1) == labels).sum().item()
        count += len(labels)
    return loss / count, right / count


def main():
    # Heats shows each trial only its own GPUs: the first one is the right one.
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # Heats runs several trials at once: `resources.cpus` says how many processors each has.
    torch.set_num_threads(1)

    with heats.trial(defaults=DEFAULTS) as t:
        torch.manual_seed(t.seed)
        train, validation = load_data()
        loader = DataLoader(train, batch_size=64, shuffle=True)
        val_loader = DataLoader(validation, batch_size=512)
        model, optimizer = build(t.params, device)

        first = 1
        if t.resume:
            # An earlier attempt at this trial was interrupted: go on after its last checkpoint.
            state = torch.load(t.resume.path / "state.pt", map_location=device, weights_only=True)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["rng"].cpu())
            first = t.resume.step + 1

        for epoch in range(first, t.params.epochs + 1):
            train_epoch(model, optimizer, loader, device)
            loss, accuracy = evaluate(model, val_loader, device)
            print(f"epoch {epoch}: loss {loss:.4f}, accuracy {accuracy:.4f}")

            # The folder becomes the checkpoint when the block ends: there is never half of one.
            with t.checkpoint(epoch) as folder:
                torch.save(
                    {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()},
                    folder / "state.pt",
                )
            # The answer says whether this trial is worth going on with.
            if t.report(epoch, val_loss=loss, val_accuracy=accuracy).should_stop:
                break


if __name__ == "__main__":
    main()
