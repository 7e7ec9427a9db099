#!/bin/sh
# One run on a cluster under Slurm, one rank a task; which rank a process is it reads from srun's variables.
#
#   sbatch [--ntasks=N] configs/slurm.sh train --config configs/recipe/8b-midtrain.json --out runs/8b ...
#   sbatch --ntasks=8 configs/slurm.sh train --parallel.pipeline 2 ...           4 copies of a model in 2 stages
#   sbatch --nodes=4 --ntasks=32 --ntasks-per-node=8 configs/slurm.sh train ...  32 ranks on 4 machines
#
# Between machines rank 0's listens at the first node's name in Slurm's list and a port made from the job's id;
# MASTER_ADDR and MASTER_PORT, or --comm.address HOST:PORT, name another: that of a faster network, as a rule. Data and
# runs lie where all nodes see them. Five minutes before its time is up every rank is asked to stop: the run saves its
# step, ends with 143 and is queued again; the same command goes on from there.
#SBATCH --job-name=onevision
#SBATCH --nodes=1
#SBATCH --ntasks=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --open-mode=append
set -u
status=0
srun --kill-on-bad-exit=1 --cpu-bind=cores "${ONEVISION:-build/onevision}" "$@" --threads "${SLURM_CPUS_PER_TASK:-1}" || status=$?
[ $status -ne 143 ] || scontrol requeue "$SLURM_JOB_ID"
exit $status
