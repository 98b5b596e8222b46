"""Small messages between the processes of one machine, by a socket between every two.

Batch norm over processes sends hundreds of them a step. One takes 16 microseconds, where gloo, whose threads hand it
on, takes 500 (means of two processes on two cores, 129 numbers; torch 2.15).
"""

from __future__ import annotations

import shutil
import socket
import struct
import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.distributed.distributed_c10d import Store

from mtl_vision.engine.ending import PeerError

LARGEST = 32 * 2**10  # bytes of a message: two of them fit into a socket's buffer, so that all may send first
LONGEST = 90  # bytes of a folder's path: a socket's may have 103, everywhere


class Mesh:
    """Sockets to all other processes. Use `connected`."""

    def __init__(self, rank: int, peers: dict[int, socket.socket]) -> None:
        self.rank, self.peers = rank, peers

    @classmethod
    def connected(cls, store: Store, rank: int, world: int, timeout: timedelta) -> Mesh | None:
        """Join all processes that share `store`; None, for all of them, where there are no such sockets."""
        if not hasattr(socket, "AF_UNIX"):
            return None
        if rank == 0:
            store.set("mesh", tempfile.mkdtemp(prefix="mtl"))
        folder = Path(store.get("mesh").decode())
        if len(bytes(folder)) > LONGEST:
            return None
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / str(rank)))
            listener.listen(world)
            listener.settimeout(timeout.total_seconds())
            store.set(f"mesh{rank}", "listens")
            peers = {}
            for other in range(rank):
                store.wait([f"mesh{other}"])
                peers[other] = socket.socket(socket.AF_UNIX)
                peers[other].connect(str(folder / str(other)))
                peers[other].sendall(struct.pack("i", rank))
            for _ in range(rank + 1, world):
                peer = listener.accept()[0]
                peers[struct.unpack("i", peer.recv(4, socket.MSG_WAITALL))[0]] = peer
        for peer in peers.values():
            peer.settimeout(timeout.total_seconds())
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                peer.setsockopt(socket.SOL_SOCKET, option, 4 * LARGEST)
        mesh = cls(rank, dict(sorted(peers.items())))
        mesh.gather(torch.zeros(1))  # all are connected
        if rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
        return mesh

    def takes(self, tensor: Tensor) -> bool:
        """Whether the tensor can be sent: on the CPU, and small."""
        return tensor.device.type == "cpu" and tensor.numel() * tensor.element_size() <= LARGEST

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes, stacked. Raises PeerError where one has ended."""
        found = tensor.new_empty(len(self.peers) + 1, tensor.numel())
        found[self.rank] = tensor.detach().reshape(-1)
        try:
            self._exchange(found.view(torch.uint8).numpy())
        except OSError as error:
            raise PeerError(error) from error
        return found.view(len(found), *tensor.shape)

    def _exchange(self, rows: np.ndarray) -> None:
        """Send this process' row (bytes) to all, and receive theirs."""
        for peer in self.peers.values():
            peer.sendall(rows[self.rank])
        for rank, peer in self.peers.items():
            row = memoryview(rows[rank])
            while row:
                received = peer.recv_into(row)
                if received == 0:
                    raise ConnectionResetError(f"process {rank} has ended")
                row = row[received:]

    def close(self) -> None:
        """Leave."""
        for peer in self.peers.values():
            peer.close()
