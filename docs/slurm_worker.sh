#!/bin/bash
#SBATCH --job-name=tunemax
#SBATCH --array=0-7                # so many workers
#SBATCH --cpus-per-task=1          # and --gres=gpu:1 for one GPU each
#SBATCH --time=8:00:00
#SBATCH --signal=USR1@120          # two minutes before that, and before a preemption that gives notice
#SBATCH --requeue
#SBATCH --open-mode=append
# Workers for a question: sbatch docs/slurm_worker.sh QUESTION, with TUNEMAX_STORAGE and TUNEMAX_RUNS set as everywhere else.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=${job:-$SLURM_JOB_ID}          # this task alone: one of an array's tasks has the number of the whole array
srun tunemax worker "$1" --idle 600
status=$?
case $status in
  0 | 2) exit $status ;;                  # nothing waits any more; or a line above says what is wrong
  *) scontrol requeue "$job" ;;           # 75: told to stop, and there is more to do
esac
