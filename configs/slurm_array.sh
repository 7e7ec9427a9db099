#!/bin/sh
# A command over data as an array of jobs under Slurm: N shards, each a job of its own, and one that joins them when all have ended well.
#
#   sh configs/slurm_array.sh 64 embed --model runs/clip/model --data /data/captions --out /data/pictures.safetensors
#   CPUS=16 sh configs/slurm_array.sh --time=4:00:00 64 dedup --data /data/captions --out /data/kept.parquet
#
# Commands: those whose `onevision help COMMAND` knows --shard. What stands before N goes to sbatch as it is. The same line again, after a
# failure, makes what is missing. `cluster` works in rounds: give the line again until its last job has written OUT.
set -eu
slurm=
while [ $# -gt 0 ] && [ "${1#-}" != "$1" ]; do slurm="$slurm $1"; shift; done
case ${1-} in
  '' | *[!0-9]* | 0) echo "slurm_array.sh: expected the number of shards, then a command; found '${1-}'" >&2; exit 2 ;;
esac
n=$1; shift
[ $# -gt 0 ] || { echo "slurm_array.sh: no command behind the number of shards" >&2; exit 2; }
line=
for word in "${ONEVISION:-build/onevision}" "$@"; do
  line="$line '$(printf %s "$word" | sed "s/'/'\\\\''/g")'"
done
submit() { sbatch --parsable --job-name="onevision-$verb" --ntasks=1 --cpus-per-task="${CPUS:-8}" --open-mode=append $slurm "$@"; }
verb=$1
array=$(submit --array="1-$n" --wrap="$line --threads \$SLURM_CPUS_PER_TASK --shard \$SLURM_ARRAY_TASK_ID/$n")
merge=$(submit --dependency="afterok:${array%%;*}" --kill-on-invalid-dep=yes --wrap="$line --threads \$SLURM_CPUS_PER_TASK --shard merge")
echo "shards: job ${array%%;*}, 1 to $n; then their join: job ${merge%%;*}"
