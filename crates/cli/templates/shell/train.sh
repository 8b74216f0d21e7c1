#!/bin/sh
# One trial. By hand: `sh train.sh 0.1 27`.
#
# A line on standard output that starts with `::metric` is a report; all other lines are the log.
# The parameters are also there as environment variables, HEATS_PARAM_RATE for example.
set -eu

rate=$1
steps=$2

# Heats stops a trial that is not worth going on with by SIGTERM: what must be cleared up goes here.
trap 'echo "asked to stop" >&2; exit 143' TERM

error=1
step=0
while [ "$step" -lt "$steps" ]; do
    step=$((step + 1))
    # Your program goes here.
    error=$(awk -v e="$error" -v r="$rate" 'BEGIN { printf "%.6g", e * (1 - r) + r * r / 10 }')
    echo "::metric step=$step error=$error"
done
