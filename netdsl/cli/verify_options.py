"""The options of `netdsl verify`, beside those that it shares with other commands."""

from __future__ import annotations

from netdsl.cli.arguments import FILES
from netdsl.cli.option import Option
from netdsl.cli.values import checks, fraction, nonnegative, opsets, positive, quantity, runtimes, whole_number

VERIFY_OPTIONS = (
    Option("verify", "-o, --output OUT.json", "also write the report as JSON", completes=FILES),
    Option("verify", "--force", "overwrite a file not written by netdsl"),
    Option("verify", "--only C,...", "do only these checks: checker, runtimes, gradients, ...", type=checks),
    Option("verify", "--skip C,...", "leave out these checks", type=checks),
    Option("verify", "--fail-on-skipped", "exit with 1 if a check that applies is skipped"),
    Option(
        "verify",
        "--against R,...",
        "compare onnxruntime with these: reference, openvino, tract, cuda, ... (default: all that are installed)",
        type=runtimes,
    ),
    Option("verify", "--opset N,...", "ONNX opsets to check", type=opsets, default="17,21,26", dest="opsets"),
    Option(
        "verify",
        "--data DATA",
        "examples to compare outputs on too, and to calibrate int8 on, in the formats of `run`; repeatable",
        repeated=True,
        completes=FILES,
    ),
    Option("verify", "--batch N", "number of random examples", type=positive, default="4"),
    Option("verify", "--samples N", "elements of each weight to compare the gradient of", type=positive, default="2"),
    Option("verify", "--tolerance T", "largest relative difference of outputs", type=nonnegative, default="1e-4"),
    Option("verify", "--gradient-tolerance T", "largest relative error of gradients", type=nonnegative, default="1e-3"),
    Option("verify", "--f16-tolerance T", "largest relative error in half precision", type=nonnegative, default="0.01"),
    Option("verify", "--int8-tolerance T", "largest relative error in int8", type=nonnegative, default="0.2"),
    Option(
        "verify",
        "--disagreement D",
        "largest share of the examples of --data whose first class f16 or int8 changes",
        type=fraction,
        default="0.1",
    ),
    Option("verify", "--time-limit S", "seconds that a step of a check may take", type=quantity, default="60"),
    Option("verify", "--memory-limit G", "gigabytes that a check may take, on Linux", type=quantity, default="8"),
    Option(
        "verify",
        "--seed N",
        "seed of random weights, targets and places of gradients (default: 0)",
        type=whole_number(0, 2**63 - 1),
    ),
)
