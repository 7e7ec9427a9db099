#!/bin/sh
# Every stage of the recipe on 8 to 1024 devices of one kind, as `onevision plan` has it: gigabytes of a rank and whether they fit, GB
# that a rank sends inside its machine and to others, seconds of a step, MFU, days for the stage's steps.
#
#   sh configs/plan/table.sh BUILD [DEVICE [KEYS...]]       DEVICE of configs/devices.json (h100); KEYS of plan for all rows
set -eu
[ $# -gt 0 ] || { sed -n 's/^# *sh /usage: sh /p' "$0" >&2; exit 2; }
cd "$(dirname "$0")/../.."
program=$1/onevision
shift
device=${1:-h100}
[ $# -eq 0 ] || shift
printf '%-13s %6s %9s %10s %9s %9s %9s %6s %8s  %s\n' stage ranks 'GB' '' 'GB near' 'GB far' 's a step' MFU days ''
# RICE: pictures of 224 x 224, its class tables shared by eight ranks; a step has 32 768 pictures, in micro-batches of 32.
plan_of() {
  case $stage in
    rice-*) set -- --what vision --config configs/model/rice-vit-l.json "configs/recipe/$stage.json" --plan.images 32 --plan.width 224 \
      --plan.height 224 --parallel.classes 8 --rice.class_blocks 8 --train.micro_batches 1024 "$@" ;;
    *) set -- --config "configs/model/${stage%%-*}.json" "configs/recipe/$stage.json" --plan.images 11 --plan.width 616 --plan.height 616 \
      --plan.text_tokens 2868 --plan.segments 11 "$@" ;;
  esac
  "$program" plan --plan.device "$device" --plan.ranks $ranks "$@"
}
for stage in 4b-align 4b-midtrain 4b-instruct 8b-align 8b-midtrain 8b-instruct rice-pretrain; do
  for ranks in 8 16 32 64 128 256 512 1024; do
    plan_of "$@" |
      awk -v stage="$stage" -v ranks="$ranks" '
        /^  all at once/ { gsub(/[^0-9]/, "", $0); gb = $0 / 1e9 }
        /^  fits/ { fits = "fits" }
        /^  too large/ { fits = "too large" }
        /^  rank 0, data/ { k = $4 ~ /^[0-9]/ ? 4 : 5; near += $k; far += $(k + 1) }  # sums, sums beside backward, values
        /^seconds of a step/ { step = $5 }
        /have no micro-batch/ { idle = $1 " copies idle" }
        /; MFU/ { mfu = $7 }
        / days for / { days = $1 }
        END { printf "%-13s %6d %9.2f %10s %9.2f %9.2f %9.3f %5.1f%% %8.2f  %s\n", stage, ranks, gb, fits, near, far, step, mfu, days, idle }'
  done
done
