"""nested_simple_rnn.npz as JSON, for the Swift tests: every array as {"shape": […], "values": […]}."""
import json
import pathlib

import numpy as np

here = pathlib.Path(__file__).parent
arrays = np.load(here / "nested_simple_rnn.npz")
# Single precision: nine digits name every number.
text = {name: {"shape": list(array.shape), "values": [float(f"{v:.9g}") for v in array.ravel().astype(float)]}
        for name, array in sorted(arrays.items())}
(here / "nested_simple_rnn.json").write_text(json.dumps(text, separators=(",", ":")) + "\n")
