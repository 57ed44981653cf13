"""The ops that multiply matrices or convolve."""

from __future__ import annotations

from netdsl.ops.convolution import Conv, ConvTranspose
from netdsl.ops.convolution_gradients import ConvDw, ConvDx
from netdsl.ops.linear import Gemm, MatMul
from netdsl.ops.recurrence import RecurrentTraining
from netdsl.ops.scanning import Scan

PRODUCTS = (Conv, ConvTranspose, ConvDw, ConvDx, Gemm, MatMul, RecurrentTraining, Scan)
"""Ops that are products of their first two operands, and the recurrences that consist of such."""
