"""Train a multi-layer perceptron on scikit-learn's hand-written digits, one epoch at a time.

Runs by hand as it does under Heats: `python train.py --lr=0.003 --width=128`.
"""

import argparse
import os
import pickle

# One thread per trial: parallel trials use the processors better than parallel sums of 64 pixels.
# NumPy's linear algebra reads this when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import heats
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lr", type=float, default=1e-3, help="initial learning rate")
    parser.add_argument("--width", type=int, default=64, help="units of the hidden layer")
    parser.add_argument("--batch", type=int, default=32, help="rows per gradient step")
    parser.add_argument("--alpha", type=float, default=1e-4, help="weight of the L2 penalty")
    parser.add_argument("--activation", choices=["relu", "tanh", "logistic"], default="relu")
    parser.add_argument("--opt", choices=["adam", "sgd"], default="adam")
    parser.add_argument("--momentum", type=float, default=0.9, help="for sgd")
    parser.add_argument("--epochs", type=int, default=27)
    return parser.parse_args()


def load_data():
    """The same split for every trial, whatever its seed: only then are their accuracies comparable."""
    images, labels = load_digits(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(images, labels, test_size=0.3, stratify=labels, random_state=0)
    scaler = StandardScaler().fit(x_train)
    return scaler.transform(x_train), y_train, scaler.transform(x_val), y_val


def main():
    args = parse_args()
    x_train, y_train, x_val, y_val = load_data()
    classes = np.unique(y_train)

    with heats.trial() as trial:
        if trial.resume:
            model = pickle.loads((trial.resume.path / "model.pkl").read_bytes())
            done = trial.resume.step
        else:
            model = MLPClassifier(
                hidden_layer_sizes=(args.width,),
                activation=args.activation,
                solver=args.opt,
                learning_rate_init=args.lr,
                momentum=args.momentum,
                batch_size=args.batch,
                alpha=args.alpha,
                random_state=trial.seed,
            )
            done = 0

        for epoch in range(done + 1, args.epochs + 1):
            try:
                model.partial_fit(x_train, y_train, classes=classes)
            except ValueError as error:
                if "non-finite" not in str(error):
                    raise
                trial.infeasible(f"diverged in epoch {epoch}")  # ends the process; the search learns from it

            probabilities = model.predict_proba(x_val)
            accuracy = accuracy_score(y_val, classes[probabilities.argmax(axis=1)])
            loss = log_loss(y_val, probabilities, labels=classes)
            print(f"epoch {epoch:2d}  train loss {model.loss_:.4g}  val loss {loss:.4g}  val accuracy {accuracy:.4f}")

            with trial.checkpoint(epoch) as folder:
                (folder / "model.pkl").write_bytes(pickle.dumps(model))
            if trial.report(epoch, val_accuracy=accuracy, val_loss=loss, train_loss=model.loss_).should_stop:
                print(f"stopped after epoch {epoch}")
                break


if __name__ == "__main__":
    main()
