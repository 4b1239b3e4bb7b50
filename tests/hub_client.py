"""Somebody's Python with our package and the real hub client, for tests of both.

Each line that comes in is Python code as JSON text. It is run, and one line of JSON goes out: the
`answer` it set, the words of a LandmarkError, the traceback of any other, warnings. One process
serves many tests, since imports take seconds.
"""

import json
import sys
import traceback
import warnings

from landmark_model import LandmarkError

for line in sys.stdin:
    found: dict = {"value": None, "error": None, "crash": None}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            names: dict = {}
            exec(json.loads(line), names)
            found["value"] = names.get("answer")
        except LandmarkError as error:
            found["error"] = str(error)
        except BaseException:
            found["crash"] = traceback.format_exc()
    found["warned"] = [str(item.message) for item in caught if item.category is UserWarning]
    print("=>" + json.dumps(found), flush=True)
