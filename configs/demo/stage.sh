# Sourced by lessons.sh and recipe.sh. Needs $onevision and $out.
#
# stage NAME "INPUTS" COMMAND...: runs a command unless it has been run before with the same words, the same program and the same content
# of INPUTS (files); their hash stands in $out/NAME.done. What an earlier, different run left is removed; what this very run left when it
# was cut is gone on with.
stage() {
  name=$1 inputs=$2
  shift 2
  # shellcheck disable=SC2086  # INPUTS is a list
  key=$({ printf '%s\n' "$*"; sha256sum "$onevision" $inputs; } | sha256sum | cut -d' ' -f1)
  printf '\n$ %s\n' "$*"
  if [ "$(cat "$out/$name.done" 2>/dev/null)" = "$key" ]; then
    printf '  (done before)\n'
    return
  fi
  if [ "$(cat "$out/$name.started" 2>/dev/null)" != "$key" ]; then
    rm -rf "${out:?}/$name" "$out/$name".*
    printf '%s' "$key" >"$out/$name.started"
  fi
  start=$(date +%s)
  "$@"
  printf '%s' "$key" >"$out/$name.done"
  printf '  %s: %d s\n' "$name" "$(($(date +%s) - start))"
}
