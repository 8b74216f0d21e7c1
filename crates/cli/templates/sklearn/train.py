"""One trial: train a classifier epoch by epoch. By hand: `python train.py --lr=0.01`."""

import argparse
import os

# One thread per trial: Heats runs several trials at once.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import heats
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--width", type=int, default=64)
parser.add_argument("--opt", choices=["adam", "sgd"], default="adam")
parser.add_argument("--momentum", type=float, default=0.9)
parser.add_argument("--epochs", type=int, default=27)
args = parser.parse_args()

# Your data goes here. Keep the split the same for all trials, or their scores cannot be compared.
x, y = load_digits(return_X_y=True)
x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=0.3, stratify=y, random_state=0)
scaler = StandardScaler().fit(x_train)
x_train, x_val = scaler.transform(x_train), scaler.transform(x_val)
classes = np.unique(y_train)

with heats.trial() as trial:
    # The trial's own seed: the same trial run again gives the same result.
    model = MLPClassifier(
        hidden_layer_sizes=(args.width,),
        solver=args.opt,
        learning_rate_init=args.lr,
        momentum=args.momentum,
        random_state=trial.seed,
    )
    for epoch in range(1, args.epochs + 1):
        model.partial_fit(x_train, y_train, classes=classes)
        accuracy = model.score(x_val, y_val)
        print(f"epoch {epoch}: accuracy {accuracy:.4f}")
        # The answer says whether this trial is worth going on with.
        if trial.report(epoch, val_accuracy=accuracy).should_stop:
            break
