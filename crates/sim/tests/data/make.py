"""Makes the files beside it: benchmarks in the format of the real ones, small enough to be kept here, and what they must
answer, computed by numpy and not by Heats. Run it with numpy at hand; what it makes is the same each time."""

import json
import pathlib

import numpy as np

HERE = pathlib.Path(__file__).parent
EPOCHS = [2, 3, 4, 5, 6]
OPS = {
    "add": lambda x, c: x + c,
    "sub": lambda x, c: x - c,
    "mul": lambda x, c: x * c,
    "div": lambda x, c: x / c,
    "rsub": lambda x, c: c - x,
    "rdiv": lambda x, c: c / x,
    "log": lambda x: np.log(x),
    "exp": lambda x: np.exp(x),
    "neg": lambda x: -x,
}


def through(ops, x):
    for name, *constant in ops:
        x = OPS[name](x, *constant)
    return x


def network(rng, name, cat, cont, outputs, encoding, feats, outs):
    """One block, four columns wide: weights, description, and the function itself."""
    shapes = {f"embds_fct.{i}.weight": (len(encoding[c]), 2) for i, c in enumerate(cat)}
    norm = ["weight", "bias", "running_mean", "running_var"]
    width, inputs = 4, 2 * len(cat) + len(feats)
    shapes |= {"first_layer.weight": (width, inputs), "first_layer.bias": (width,)}
    shapes |= {f"layers.0.norm.{part}": (width,) for part in norm}
    shapes |= {"layers.0.linear0.weight": (18, width), "layers.0.linear0.bias": (18,)}
    shapes |= {"layers.0.linear1.weight": (width, 9), "layers.0.linear1.bias": (width,)}
    shapes |= {f"last_normalization.{part}": (width,) for part in norm}
    shapes |= {"head.weight": (len(outs), width), "head.bias": (len(outs),)}
    weights = {tensor: rng.normal(scale=0.3, size=shape).astype("<f4") for tensor, shape in shapes.items()}
    for tensor in weights:
        if tensor.endswith("running_var"):
            weights[tensor] = np.abs(weights[tensor]) + np.float32(0.1)
    offsets = np.cumsum([0, *(w.size for w in weights.values())])
    tensors = {t: {"offset": int(o), "shape": list(w.shape)} for (t, w), o in zip(weights.items(), offsets)}
    embs = [[f"embds_fct.{i}.weight", i] for i in range(len(cat))]
    description = {"scenario": name, "cat": cat, "cont": cont, "outputs": outputs, "encoding": encoding, "embs": embs,
                   "feats": feats, "outs": outs, "n_layers": 1, "bn_eps": 1e-5, "tensors": tensors}
    (HERE / f"{name}.json").write_text(json.dumps(description) + "\n")
    (HERE / f"{name}.f32").write_bytes(np.concatenate([w.ravel() for w in weights.values()]).astype("<f4").tobytes())

    def batch_norm(x, part):
        scale = weights[f"{part}.weight"] / np.sqrt(weights[f"{part}.running_var"] + 1e-5)
        return (x - weights[f"{part}.running_mean"]) * scale + weights[f"{part}.bias"]

    def linear(x, part):
        return weights[f"{part}.weight"].astype(float) @ x + weights[f"{part}.bias"]

    def answer(config):
        x = [v for i, c in enumerate(cat) for v in weights[f"embds_fct.{i}.weight"][encoding[c][config.get(c, "#na#")]]]
        x = np.array(x + [through(ops, float(config.get(cont[i], 0.0))) for i, ops in feats])
        x = linear(x, "first_layer")
        a, b = np.split(linear(batch_norm(x, "layers.0.norm"), "layers.0.linear0"), 2)
        x = x + linear(a * np.maximum(b, 0), "layers.0.linear1")
        y = 1 / (1 + np.exp(-linear(np.maximum(batch_norm(x, "last_normalization"), 0), "head")))
        return {output: float(through(ops, y[i])) for output, (i, ops) in zip(outputs, outs)}

    return answer


def main():
    rng = np.random.default_rng(7)
    golden = []

    def expect(name, instance, answer, config, fidelity, more):
        golden.append({"scenario": name, "instance": instance, "config": config, "fidelity": fidelity,
                       "expect": answer(config | more)})

    curves = network(rng, "lcbench", ["OpenML_task_id"], ["epoch", "lr"], ["time", "val_accuracy"],
                     {"OpenML_task_id": {"11": 0, "12": 1}},
                     [[0, [["sub", 1.0], ["div", 5.0]]], [1, [["add", 1e-12], ["log"], ["rsub", 0.5]]]],
                     [[1, [["mul", 90.0], ["add", 3.0]]], [0, [["neg"], ["exp"], ["rdiv", 30.0]]]])
    space = {"scenario": "lcbench", "target": "val_accuracy", "runtime": "time", "fidelity": "epoch",
             "fidelity_levels": EPOCHS, "fixed": {}, "instances": ["11", "12"],
             "params": [{"name": "lr", "kind": "float", "parent": None}]}
    (HERE / "lcbench.space.json").write_text(json.dumps(space) + "\n")
    for instance in space["instances"]:
        for lr, epoch in [(0.001, 2), (0.1, 4), (0.9, 6)]:
            expect("lcbench", instance, curves, {"lr": lr}, epoch, {"OpenML_task_id": instance, "epoch": epoch})

    shares = [1 / 9, 1 / 3, 1.0]
    trees = network(rng, "rbv2_xgboost", ["task_id", "booster"], ["eta", "alpha", "trainsize", "repl"],
                    ["acc", "timetrain"],
                    {"task_id": {"12": 0}, "booster": {"#na#": 0, "gblinear": 1, "gbtree": 2}},
                    [[0, [["mul", 2.0]]], [1, [["add", 1.0], ["log"]]], [2, [["div", 0.5]]], [3, [["sub", 9.5]]]],
                    [[0, []], [1, [["mul", 100.0]]]])
    space = {"scenario": "rbv2_xgboost", "target": "acc", "runtime": "timetrain", "fidelity": "trainsize",
             "fidelity_levels": shares, "fixed": {"repl": 10}, "instances": ["12"],
             "params": [{"name": "booster", "kind": "cat", "parent": None}, {"name": "alpha", "kind": "float", "parent": None},
                        {"name": "eta", "kind": "float", "parent": ["booster", ["gbtree"]]}]}
    (HERE / "rbv2_xgboost.space.json").write_text(json.dumps(space) + "\n")
    for config, share in [({"booster": "gbtree", "alpha": 2.0, "eta": 0.3}, 1.0), ({"booster": "gblinear", "alpha": 5.0}, shares[0])]:
        expect("rbv2_xgboost", "12", trees, config, share, {"task_id": "12", "trainsize": share, "repl": 10})

    (HERE / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    (HERE / "fstar.json").write_text(json.dumps({"lcbench/11": 0.8, "lcbench/12": 0.75, "rbv2_xgboost/12": 1.0}) + "\n")
    (HERE / "stats.csv").write_text("scenario,instance,metric,min,max\nlcbench,11,val_accuracy,20.0,70.0\n"
                                    "lcbench,12,val_accuracy,30.0,75.0\nrbv2_xgboost,12,acc,0.0,1.0\n")
    costs = {"lcbench/11": 80.0, "lcbench/12": 60.0, "rbv2_xgboost/12": 50.0, "hpobench/tiny": 12.0}
    (HERE / "full_cost.json").write_text(json.dumps(costs) + "\n")

    # Rows in the order depth, width: the last parameter changes fastest.
    values = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8], [0.9, 1.0], [0.0, 0.1]], dtype="<f4")
    seconds = np.array([1, 2, 3, 4, 5, 6], dtype="<f4")
    (HERE / "hpobench/tiny.f32").write_bytes(values.tobytes() + seconds.tobytes())
    tables = {"hpobench/tiny": {"rows": 6, "seeds": 2, "metric": "val_acc (max)", "best_mean": 0.95, "worst_mean": 0.05},
              "params": {"hpobench": {"depth": [1, 2, 3], "width": [16, 1e-8]}}}
    (HERE / "tables.json").write_text(json.dumps(tables) + "\n")


main()
