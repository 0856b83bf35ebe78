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
"$python" "$here/peak_memory.py" memory.json \
    "$python" -m edge_fmnist live --source demo --frames 100 --quiet --jsonl live.jsonl
"$python" "$here/sizes.py" >sizes.json
