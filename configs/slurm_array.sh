#!/bin/sh
# A command over data as an array of jobs under Slurm: N shards, each a job of its own, and one that joins them when all have ended well.
#
#   sh configs/slurm_array.sh 64 embed --model runs/clip/model --data /data/captions --out /data/pictures.safetensors
#   CPUS=16 sh configs/slurm_array.sh --time=4:00:00 64 dedup --data /data/captions --out /data/kept.parquet
#
# Commands: those whose `onevision help COMMAND` knows --shard. What stands before N goes to sbatch as it is. The same line
# again, after a failure, makes what is missing; a shard that keeps nothing of its records fails, and where that is right
# `COMMAND ... --shard merge` joins the others. `cluster` works in rounds: a join that ends with exit code 4 submits the
# next round itself, so jobs must be allowed to call sbatch; where they are not, that join fails, and the same line by
# hand goes on.
set -eu
quoted() { printf " '%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }
again="sh"
for word in "$(cd "$(dirname "$0")" && pwd)/slurm_array.sh" "$@"; do again="$again$(quoted "$word")"; done
slurm=
while [ $# -gt 0 ] && [ "${1#-}" != "$1" ]; do slurm="$slurm $1"; shift; done
case ${1-} in
  '' | *[!0-9]* | 0) echo "slurm_array.sh: expected the number of shards, then a command; found '${1-}'" >&2; exit 2 ;;
esac
n=$1; shift
[ $# -gt 0 ] || { echo "slurm_array.sh: no command behind the number of shards" >&2; exit 2; }
line=
for word in "${ONEVISION:-build/onevision}" "$@"; do line="$line$(quoted "$word")"; done
submit() { sbatch --parsable --job-name="onevision-$verb" --ntasks=1 --cpus-per-task="${CPUS:-8}" --open-mode=append $slurm "$@"; }
verb=$1
array=$(submit --array="1-$n" --wrap="$line --threads \$SLURM_CPUS_PER_TASK --shard \$SLURM_ARRAY_TASK_ID/$n")
merge=$(submit --dependency="afterok:${array%%;*}" --kill-on-invalid-dep=yes \
  --wrap="$line --threads \$SLURM_CPUS_PER_TASK --shard merge; ended=\$?; if [ \$ended -eq 4 ]; then exec $again; fi; exit \$ended")
echo "shards: job ${array%%;*}, 1 to $n; then their join: job ${merge%%;*}"
