"""What the processes of a search import before they are made: imported once, for all of them."""

import lightgbm  # noqa: F401
import numpy  # noqa: F401
import onnx  # noqa: F401
import onnxruntime  # noqa: F401
import pyarrow  # noqa: F401
import scipy.sparse  # noqa: F401
import sklearn.ensemble
import sklearn.linear_model  # noqa: F401
