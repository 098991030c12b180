#!/usr/bin/env python3
"""The cluster's DNS as far as its tests need it: the addresses of Services. Nothing else has a name here.

usage: dns.py ADDRESS KUBECTL KUBECONFIG
"""
import socket
import struct
import subprocess
import sys
import time

FOUND, FAILED, UNKNOWN = 0, 2, 3
ROWS = 'jsonpath={range .items[*]}{.metadata.name}.{.metadata.namespace}.svc.cluster.local {.spec.clusterIP}{"\\n"}{end}'


class Services:
    def __init__(self, kubectl, kubeconfig):
        self.command = [kubectl, "--kubeconfig", kubeconfig, "get", "services", "-A", "-o", ROWS, "--request-timeout", "2s"]
        self.addresses, self.read_at = {}, 0

    def look(self, name):
        """A code and an address. A name that is not known is looked for again, at most once a second."""
        if name not in self.addresses and time.monotonic() > self.read_at + 1:
            rows = subprocess.run(self.command, capture_output=True, text=True, check=False)
            if rows.returncode != 0:
                return FAILED, None
            self.addresses = dict(row.split(" ") for row in rows.stdout.splitlines() if not row.endswith(" None"))
            self.read_at = time.monotonic()
        address = self.addresses.get(name)
        return (FOUND if address else UNKNOWN), address


def answer(query, services):
    number, flags, questions = struct.unpack(">HHH", query[:6])
    if flags & 0xF800 or questions != 1:
        return None  # an answer, or nothing that is asked of us
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    kind = struct.unpack(">H", query[at + 1 : at + 3])[0]
    code, address = services.look(".".join(labels).lower())
    record = b""
    if code == FOUND and kind == 1:  # A; of another kind there is none
        record = struct.pack(">HHHIH", 0xC00C, 1, 1, 5, 4) + socket.inet_aton(address)
    head = struct.pack(">HHHHHH", number, 0x8480 | flags & 0x0100 | code, 1, 1 if record else 0, 0, 0)
    return head + query[12 : at + 5] + record


def main():
    address, kubectl, kubeconfig = sys.argv[1:]
    services = Services(kubectl, kubeconfig)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    while True:
        query, client = server.recvfrom(512)
        try:
            said = answer(query, services)
        except (IndexError, struct.error, UnicodeDecodeError) as error:
            print(f"{client}: {error}", flush=True)
            continue
        if said:
            server.sendto(said, client)


main()
