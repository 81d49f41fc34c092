#!/bin/bash
# One Ray node on each node of a Slurm job, and the sweep on the first:  sbatch docs/clusters/slurm.sh
# Two minutes before its time is over the sweep stops cleanly; submitted again, it goes on where it was.
# The file system that holds this folder is shared; so are the prepared data and, by `storage:`, the checkpoints.
#SBATCH --job-name=sweep
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@120
set -euo pipefail

# A token of this job's own keeps everybody else on the network out.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN

head=$(hostname --ip-address | cut -d ' ' -f 1)
port=$((6000 + SLURM_JOB_ID % 1000))  # jobs of one user may meet on a node
export RAY_ADDRESS="$head:$port"
node=(--cpus-per-task="$SLURM_CPUS_PER_TASK" --ntasks-per-node=1 --overlap)
ray=(ray start --block --disable-usage-stats --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")

srun "${node[@]}" --nodes=1 --ntasks=1 --nodelist="$(hostname)" \
    env -u RAY_ADDRESS "${ray[@]}" --head --node-ip-address="$head" --port="$port" &
for _ in $(seq 60); do
    ray status > /dev/null 2>&1 && break
    sleep 2
done
if (( SLURM_NNODES > 1 )); then
    srun "${node[@]}" --nodes=$((SLURM_NNODES - 1)) --ntasks=$((SLURM_NNODES - 1)) --exclude="$(hostname)" \
        env -u RAY_ADDRESS "${ray[@]}" --address="$head:$port" &
fi

# exec: Slurm's signal then reaches the sweep itself. `auto` is what RAY_ADDRESS says. The journal wants a disk of this
# node or a file system with real locks (Lustre, GPFS; not NFS).
exec orchestrate sweep pipelines/demo.yaml --address auto
