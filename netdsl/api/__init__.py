"""The Python API, exposed by `import netdsl`: nets, sessions, training, results, the zoo, and errors.

`netdsl.__all__` lists the same names.
"""

from __future__ import annotations

from netdsl.api.errors import NetError as NetError
from netdsl.api.errors import NetWarning as NetWarning
from netdsl.api.functions import check as check
from netdsl.api.functions import compare as compare
from netdsl.api.functions import diff as diff
from netdsl.api.functions import evaluate as evaluate
from netdsl.api.functions import format as format
from netdsl.api.functions import tensors as tensors
from netdsl.api.importing import import_model as import_model
from netdsl.api.loading import load as load
from netdsl.api.loading import parse as parse
from netdsl.api.magic import load_ipython_extension as load_ipython_extension
from netdsl.api.net import Net as Net
from netdsl.api.parts import Layer as Layer
from netdsl.api.parts import Value as Value
from netdsl.api.results import Picture as Picture
from netdsl.api.results import Problems as Problems
from netdsl.api.results import Result as Result
from netdsl.api.results import Table as Table
from netdsl.api.session import Session as Session
from netdsl.api.shipped import Zoo as Zoo
from netdsl.api.shipped import ZooEntry as ZooEntry
from netdsl.api.shipped import zoo as zoo
from netdsl.api.summary import Summary as Summary
from netdsl.api.training import Trained as Trained
from netdsl.api.training import fit as fit
from netdsl.api.verifying import verify as verify
from netdsl.base.user_error import Error as Error
from netdsl.base.user_error import UserError as UserError
from netdsl.base.version import VERSION
from netdsl.diagnostics.problem import Problem as Problem
from netdsl.ir.net import Parameter as Parameter

__version__ = VERSION
