#!/bin/sh
# Lets each rank of one machine look like a machine of its own to NCCL, so that several ranks may share one GPU. They then
# talk over sockets, which go no further than this machine.
NCCL_HOSTID="dtrain-check-rank-${OMPI_COMM_WORLD_RANK:-0}"
NCCL_SOCKET_IFNAME=lo
NCCL_IB_DISABLE=1
NCCL_P2P_DISABLE=1
NCCL_SHM_DISABLE=1
export NCCL_HOSTID NCCL_SOCKET_IFNAME NCCL_IB_DISABLE NCCL_P2P_DISABLE NCCL_SHM_DISABLE
exec "$@"
