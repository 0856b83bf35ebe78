#!/bin/sh
# Run the commands whose results are compared: run_commands.sh PYTHON DATA FOLDER. Writes one file per result to FOLDER.
set -eu
python=$1 data=$2 folder=$3
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
mkdir -p "$folder"
cd "$folder"

"$python" -m edge_fmnist doctor --json >doctor.json
"$python" -m edge_fmnist models verify --json >verify.json
"$python" -m edge_fmnist samples --output samples
"$python" -m edge_fmnist classify samples --json >classify.jsonl
"$python" -m edge_fmnist evaluate edge --data "$data" --json >evaluate.json
"$python" - "$data" <<'END'
import sys
from pathlib import Path

import numpy as np

from edge_fmnist import Classifier
from edge_fmnist.data.dataset import load

np.save("outputs.npy", Classifier("edge").outputs(load("test", Path(sys.argv[1])).images)[0])
END
"$python" "$here/photographs.py" preprocess "$data/photographs" photographs.npz
# Under qemu-user, the peak includes the emulator, which is part of the process.
"$python" - <<'END'
import json, resource, subprocess, sys
from pathlib import Path

options = ["--source", "demo", "--frames", "100", "--quiet", "--jsonl", "live.jsonl"]
subprocess.run([sys.executable, "-m", "edge_fmnist", "live", *options], check=True)
# KiB on Linux.
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
Path("memory.json").write_text(json.dumps({"peak_bytes": peak}) + "\n")
END
"$python" "$here/sizes.py" >sizes.json
