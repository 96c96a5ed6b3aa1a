#!/usr/bin/env bash
# Everything that `make test` runs. A part that fails does not keep the others from running; the last lines tell.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=$PWD/.venv/bin/python
export PYTHONPATH=$PWD/bindings/python PYTHONDONTWRITEBYTECODE=1

summary=()
failed=0
part() { # name, command …
  local name=$1 start=$SECONDS verdict=passed
  echo; echo "══ $name"
  "${@:2}" || { verdict=FAILED; failed=1; }
  summary+=("$(printf '%-46s %s  (%d s)' "$name" "$verdict" $((SECONDS - start)))")
}

part "Swift tests" swift test
part "C programs" Tests/c/run.sh
for law in symbols disassembly imports; do part "Law: $law" "$python" "Tests/laws/$law.py"; done
# Keras computes on one backend in a process: with NumPy what answers are held against, with TensorFlow what gradients are.
tests=bindings/python/tests
with_tensorflow=("$tests"/test_live_{gradients,training}.py)
python_tests() { "$python" -m pytest -q -p no:cacheprovider "$@"; }
tensorflow_tests() {
  KERAS_BACKEND=tensorflow python_tests "${with_tensorflow[@]}"
  local code=$?
  ((code != 5)) || { echo "skipped: TensorFlow is not installed"; return 0; } # 5: no test was collected
  return $code
}
part "arm64, emulated" Tests/arm64/run.sh "$python"
part "Python tests" python_tests "$tests" "${with_tensorflow[@]/#/--ignore=}"
part "Python tests beside TensorFlow" tensorflow_tests

echo; printf '%s\n' "${summary[@]}"
((failed)) && { echo; echo "make test: FAILED"; exit 1; }
echo; echo "make test: everything passed"
