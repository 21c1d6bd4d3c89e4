"""What the processes of a search import before they are made: imported once, for all of them."""

import importlib.util

import lightgbm  # noqa: F401
import numpy  # noqa: F401
import onnx  # noqa: F401
import onnxruntime  # noqa: F401
import pyarrow  # noqa: F401
import scipy.sparse  # noqa: F401
import sklearn.ensemble
import sklearn.linear_model  # noqa: F401

if importlib.util.find_spec("torch") is not None:
    import torch  # noqa: F401

    import lakewright.learning.learners.mlp  # noqa: F401
