#!/bin/sh
# What a newcomer gets: clones HEAD into an empty directory and runs the two commands of the README there. Changes that are
# not committed do not count. A clone that fails is kept; `--keep` keeps it always.
set -u
case ${1-} in
  '') keep=0 ;;
  --keep) keep=1 ;;
  *) echo "clone_check.sh: unknown argument '$1'; it knows only --keep" >&2; exit 2 ;;
esac
commands='make demo
make test'

root=$(git rev-parse --show-toplevel) || exit 2
dir=$(mktemp -d) || exit 3
finish() {  # finish STATUS MESSAGE
  if [ "$1" = 0 ] && [ $keep = 0 ]; then rm -rf "$dir"; else echo "the clone is in $dir/onevision"; fi
  echo "clone-check: $2"
  exit "$1"
}

[ -z "$(git -C "$root" status --porcelain)" ] || { echo "not committed, so not checked:"; git -C "$root" status --short; }
git clone -q --no-hardlinks "$root" "$dir/onevision" && cd "$dir/onevision" || finish 3 "git clone failed"
[ "$(git rev-parse HEAD)" = "$(git -C "$root" rev-parse HEAD)" ] || finish 1 "the clone is not at HEAD"
echo "clone of $(git log -1 --format='%h %s')"

n=0
while read -r command; do
  n=$((n + 1))
  grep -qE "^ {0,4}$command *(#.*)?$" README.md || finish 1 "README.md has no line '$command'"
  echo "== $command"
  start=$(date +%s)
  # Nothing of the caller's make or git reaches the clone, and no terminal is there.
  env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u GIT_DIR -u GIT_WORK_TREE $command </dev/null ||
    finish 1 "'$command' failed with exit $? after $(($(date +%s) - start)) s"
  echo "== $command: $(($(date +%s) - start)) s"
  left=$(git status --porcelain)
  [ -z "$left" ] || finish 1 "'$command' wrote outside build/: $left"
done <<END
$commands
END
finish 0 "$n commands of README.md work in a fresh clone"
