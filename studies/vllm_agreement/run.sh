#!/usr/bin/env bash
# The same adapters through peft/ and through vLLM. Needs a server that answers at $1 and the served names and folders:
#   bash studies/vllm_agreement/run.sh http://127.0.0.1:8000/v1 OUT NAME=DIR [NAME=DIR]
set -euo pipefail
url=$1 out=$2
shift 2
common=(--model-role grader=embedded/judge -T rungs=untriggered,exact -T n_questions=24 -T max_tokens=40
        -T temperature=0.7 --display plain)
for pair in "$@"; do
  name=${pair%%=*} folder=${pair#*=}
  inspect eval emcontain/containment --model "peft/smollm2-135m:$folder" --log-dir "$out/peft" "${common[@]}"
  inspect eval emcontain/containment --model "vllm/smollm2-135m:$name" --model-base-url "$url" \
    -T adapter="$folder" --log-dir "$out/vllm" "${common[@]}"
done
for engine in peft vllm; do
  echo "== $engine"
  emcontain results "$out/$engine" --no-rungs
done
