#!/usr/bin/env bash
# Test and benchmark netdsl on a machine with an NVIDIA GPU, in about ten minutes; see CONTRIBUTING.md.
#
#   benchmarks/gpu.sh [--provider cuda|cpu] [--smoke] [--venvs DIR] [--wheels DIR] [--json FILE] [-- ARGUMENT ...]
#
# --provider cpu --smoke   try the script without a GPU, with small nets
# --venvs DIR              where to make environments that are missing (default: .gpu)
# --wheels DIR             install from the wheels in this folder only, for machines without a network
# --json FILE              write the results to this file (default: gpu.json)
# NETDSL_PYTHON, NETDSL_TORCH_PYTHON: existing environments of netdsl with onnxruntime-gpu, and of PyTorch
set -euo pipefail
cd "$(dirname "$0")/.."

provider=cuda
venvs=.gpu
json=gpu.json
smoke=()
index=()

fail() {
  echo "gpu.sh: $*" >&2
  exit 2
}

while (($#)); do
  case $1 in
    --provider | --venvs | --wheels | --json)
      (($# > 1)) || fail "$1 needs a value"
      case $1 in
        --provider) provider=$2 ;;
        --venvs) venvs=$2 ;;
        --wheels)
          [[ -d $2 ]] || fail "there is no folder $2"
          index=(--no-index --find-links "$2")
          ;;
        --json) json=$2 ;;
      esac
      shift 2
      ;;
    --smoke)
      smoke=(--smoke)
      shift
      ;;
    --help | -h)
      sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
      exit 0
      ;;
    --)
      shift
      break
      ;;
    *) fail "unknown argument $1; --help lists them" ;;
  esac
done

case $provider in
  cuda)
    command -v nvidia-smi >/dev/null || fail "nvidia-smi is missing: is this a machine with an NVIDIA GPU and its driver?"
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || fail "nvidia-smi finds no GPU"
    runtime='onnxruntime-gpu[cuda,cudnn]'
    ;;
  cpu) runtime=onnxruntime ;;
  *) fail "the provider is cuda or cpu, not $provider" ;;
esac

# Print the path of a Python in which a check succeeds: the given one, or that of an environment made here.
environment() {
  local name=$1 given=$2 check=$3
  shift 3
  if [[ -n $given ]]; then
    "$given" -c "$check" >&2 || fail "$given cannot run: $check"
    echo "$given"
    return
  fi
  local python=$PWD/$venvs/$name/bin/python base
  [[ $venvs == /* ]] && python=$venvs/$name/bin/python
  if [[ ! -x $python ]]; then
    for base in python3.13 python3.12 python3.11 python3; do
      "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
      base=
    done
    [[ -n $base ]] || fail "Python 3.11 or newer is missing"
    "$base" -m venv "${python%/bin/python}" >&2 || fail "cannot make ${python%/bin/python}: is the module venv installed?"
  fi
  if ! "$python" -c "$check" >/dev/null 2>&1; then
    echo "installing $* for $name" >&2
    "$python" -m pip install -q ${index[@]+"${index[@]}"} "$@" >&2 ||
      fail "pip cannot install $*: is there a network, or do the wheels of --wheels suffice?"
    "$python" -c "$check" >&2 || fail "the environment $name does not work: $check"
  fi
  echo "$python"
}

wanted=$([[ $provider == cuda ]] && echo CUDA || echo CPU)ExecutionProvider
check="import lark, numpy, onnx, pytest, hypothesis, onnxruntime as o; assert '$wanted' in o.get_available_providers()"
ours=$(environment netdsl "${NETDSL_PYTHON:-}" "$check" lark numpy onnx pytest hypothesis "$runtime")

check='import torch, torchvision'
[[ $provider == cuda ]] && check+='; assert torch.cuda.is_available()'
theirs=
if ! theirs=$(environment torch "${NETDSL_TORCH_PYTHON:-}" "$check" torch torchvision numpy); then
  echo "gpu.sh: goes on without PyTorch" >&2
  theirs=
fi

NETDSL_TORCH_PYTHON=$theirs PYTHONPATH=$PWD exec "$ours" -m benchmarks.gpu \
  --provider "$provider" --json "$json" ${smoke[@]+"${smoke[@]}"} "$@"
