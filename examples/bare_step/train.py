"""Trains LeNet on MNIST with NumPy and onnxruntime alone: what a step is, step.onnx knows and tells."""

import gzip
import json

import numpy as np
import onnxruntime as ort

ort.set_default_logger_severity(3)  # it would warn of each weight that it is not constant
session = ort.InferenceSession("step.onnx")
told = json.loads(session.get_modelmeta().custom_metadata_map["netdsl.training"])
names = [output.name for output in session.get_outputs()]
state = {}  # an input that is not given is as step.onnx has it: as training begins


def mnist(part):
    images = gzip.open(f"examples/mnist/{part}-images-idx3-ubyte.gz").read()
    labels = gzip.open(f"examples/mnist/{part}-labels-idx1-ubyte.gz").read()
    return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)


def step(x, target, rate):
    given = {"image": x, "target": target.astype(np.int64), "rate": np.array(rate, np.float32)}
    return dict(zip(names, session.run(None, {**given, **state}), strict=True))


images, labels = mnist("train")
count, batch, epochs = len(images), told["batch"], 2
for epoch in range(epochs):
    order, losses = np.random.default_rng(epoch).permutation(count), []
    for at in range(0, count - batch + 1, batch):
        picked = order[at : at + batch]
        left = 1 - (epoch + at / count) / epochs  # the rate falls to 0
        done = step(images[picked], labels[picked], told["optimizer"]["lr"] * left)
        state = {name: done[after] for name, after in told["state"].items()}
        losses.append(done["loss"])
    print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}")

images, labels = mnist("t10k")
parts = [step(images[at : at + batch], labels[at : at + batch], 0)["output"] for at in range(0, len(images), batch)]
print(f"test error {100 * np.mean(np.concatenate(parts).argmax(1) != labels):.2f} %")
np.savez("lenet.npz", **{name: state[name] for name in told["weights"]})
