# shellcheck shell=bash
# What a script says while it works: titled steps with the time, plain facts, one clear failure.
# Sourced by the scripts, after `set -euo pipefail`.

UI_STARTED=$SECONDS
UI_STEP=0
if [[ -t 1 ]]; then
  UI_BOLD=$'\e[1m' UI_GREEN=$'\e[32m' UI_RED=$'\e[31m' UI_OFF=$'\e[0m'
else
  UI_BOLD='' UI_GREEN='' UI_RED='' UI_OFF=''
fi

# step TEXT: a numbered title with the seconds since the script began.
step() {
  UI_STEP=$((UI_STEP + 1))
  printf '\n%s[%02d] +%ds %s%s\n' "$UI_BOLD" "$UI_STEP" "$((SECONDS - UI_STARTED))" "$*" "$UI_OFF"
}

# say TEXT: one line under the step.
say() { printf '     %s\n' "$*"; }

# ok TEXT: something that was checked and holds.
ok() { printf '  %sok%s %s\n' "$UI_GREEN" "$UI_OFF" "$*"; }

# fail TEXT: says what is wrong on stderr and ends the script with 1.
fail() {
  printf '%sFAILED%s %s\n' "$UI_RED" "$UI_OFF" "$*" >&2
  exit 1
}

# skip TEXT: this machine lacks something; scripts/test counts exit code 77 as skipped.
SKIPPED=77
skip() {
  printf 'skipped: %s\n' "$*"
  exit "$SKIPPED"
}

# indent: copies stdin to stdout, moved under the step.
indent() { sed 's/^/     /'; }

# usage_of FILE: prints the comment block at the head of a script, which is its --help.
usage_of() { awk 'NR > 1 { if (!/^#/ || /^# shellcheck/) exit; sub(/^# ?/, ""); print }' "$1"; }

# equal WHAT GOT WANTED: fails unless both are the same text.
equal() { [[ $2 == "$3" ]] || fail "$1: got '$2', wanted '$3'"; }

# at_least WHAT GOT MINIMUM: fails unless the whole number GOT reaches MINIMUM.
at_least() { (($2 >= $3)) || fail "$1: got $2, wanted at least $3"; }

# wait_for SECONDS COMMAND...: repeats the command until it succeeds; false when time is up.
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.2
  done
}
