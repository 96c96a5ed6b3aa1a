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
part "Python tests" "$python" -m pytest -q -p no:cacheprovider bindings/python/tests

echo; printf '%s\n' "${summary[@]}"
((failed)) && { echo; echo "make test: FAILED"; exit 1; }
echo; echo "make test: everything passed"
