"""Train LeNet on MNIST with only NumPy and onnxruntime; step.onnx defines and describes a training step."""

import gzip
import json

import numpy as np
import onnxruntime as ort

ort.set_default_logger_severity(3)  # otherwise it warns about each weight, which is not constant
session = ort.InferenceSession("step.onnx")
about = json.loads(session.get_modelmeta().custom_metadata_map["netdsl.training"])
names = [output.name for output in session.get_outputs()]
state = {}  # inputs that are not fed have their initial values, stored in step.onnx


def mnist(part):
    images = gzip.open(f"examples/mnist/{part}-images-idx3-ubyte.gz").read()
    labels = gzip.open(f"examples/mnist/{part}-labels-idx1-ubyte.gz").read()
    return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)


def step(x, target, rate):
    given = {"image": x, "target": target.astype(np.int64), "rate": np.array(rate, np.float32)}
    return dict(zip(names, session.run(None, {**given, **state}), strict=True))


images, labels = mnist("train")
count, batch, epochs = len(images), about["batch"], 2
for epoch in range(epochs):
    order, losses = np.random.default_rng(epoch).permutation(count), []
    for at in range(0, count - batch + 1, batch):
        picked = order[at : at + batch]
        left = 1 - (epoch + at / count) / epochs  # the learning rate decays to 0
        done = step(images[picked], labels[picked], about["optimizer"]["lr"] * left)
        state = {name: done[after] for name, after in about["state"].items()}
        losses.append(done["loss"])
    print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}")

images, labels = mnist("t10k")
parts = [step(images[at : at + batch], labels[at : at + batch], 0)["output"] for at in range(0, len(images), batch)]
print(f"test error {100 * np.mean(np.concatenate(parts).argmax(1) != labels):.2f} %")
np.savez("lenet.npz", **{name: state[name] for name in about["weights"]})
