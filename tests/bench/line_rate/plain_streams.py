#!/usr/bin/python3
"""What plain TCP streams carry: this host sends to each peer and receives from each, for as long as told, and prints the bits a second that came.

plain_streams.py OWN_ADDRESS SECONDS PEER_ADDRESS...: says "ready" when it can be called, and calls its peers when it reads a line. The limit of
line_rate_bench.
"""
import socket
import sys
import threading
import time

PORT = 7471
WARM_UP = 0.5  # seconds: until TCP has found its pace
PATIENCE = 20  # seconds for a peer to answer


def send(stream, until):
    data = bytes(1 << 18)
    try:
        while time.monotonic() < until:
            stream.sendall(data)
    except OSError:
        pass  # the other side has ended first


def main():
    own, seconds, peers = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
    listener = socket.create_server((own, PORT), backlog=len(peers))
    listener.settimeout(PATIENCE)
    print("ready", flush=True)
    sys.stdin.readline()
    outgoing = [socket.create_connection((peer, PORT), timeout=PATIENCE) for peer in peers]
    incoming = [listener.accept()[0] for _ in peers]
    begin = time.monotonic() + WARM_UP
    end = begin + seconds
    threads = [threading.Thread(target=send, args=(stream, end + WARM_UP), daemon=True) for stream in outgoing]
    came = [0] * len(peers)

    def receive(index):
        buffer = bytearray(1 << 20)
        while (now := time.monotonic()) < end:
            count = incoming[index].recv_into(buffer)
            came[index] += count if now >= begin else 0

    receivers = [threading.Thread(target=receive, args=(index,)) for index in range(len(peers))]
    for thread in [*threads, *receivers]:
        thread.start()
    for thread in receivers:
        thread.join()
    print(sum(came) * 8 / seconds)


main()
