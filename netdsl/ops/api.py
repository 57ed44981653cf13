"""The functions that layer bodies are written with: those that each family lists in `__all__`."""
# ruff: noqa: F403

from __future__ import annotations

from netdsl.ops.activations import *
from netdsl.ops.aligning import *
from netdsl.ops.arithmetic import *
from netdsl.ops.attending import *
from netdsl.ops.base import *
from netdsl.ops.batch_training import *
from netdsl.ops.comparison import *
from netdsl.ops.convolution import *
from netdsl.ops.convolution_gradients import *
from netdsl.ops.elementwise import *
from netdsl.ops.indexing import *
from netdsl.ops.likelihood import *
from netdsl.ops.linear import *
from netdsl.ops.normalization import *
from netdsl.ops.pooling import *
from netdsl.ops.pooling_gradients import *
from netdsl.ops.random import *
from netdsl.ops.recurrence import *
from netdsl.ops.reduction import *
from netdsl.ops.regions import *
from netdsl.ops.resampling import *
from netdsl.ops.rotary import *
from netdsl.ops.scanning import *
from netdsl.ops.scattering import *
from netdsl.ops.shaping import *
from netdsl.ops.sync_batch_norm import *
