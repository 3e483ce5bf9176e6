"""A hub and connections to it in one process; among several, see test_together.py."""

import json
import socket
from multiprocessing.connection import Connection

import pytest

from lit_knn.distributed import Hub


class Client:
    def __init__(self, hub, *hello):
        self.link = Connection(socket.create_connection(("127.0.0.1", hub.port)).detach())
        self.say("hello", *hello)

    def say(self, *message):
        self.link.send_bytes(json.dumps(message).encode())

    def hear(self):
        assert self.link.poll(10)
        return json.loads(self.link.recv_bytes())


@pytest.fixture
def hub():
    hub = Hub(3, "127.0.0.1", lambda rank: "")
    hub.start()
    return hub


@pytest.fixture
def clients(hub):
    return [Client(hub, hub.secret, rank, f"number {rank}") for rank in range(3)]


def test_all_go_on_when_all_are_done_and_it_ends_when_all_have_left(hub, clients):
    for number in (1, 2):
        for client in clients[:2]:
            client.say("done", number)
        assert not any(client.link.poll(0.1) for client in clients)
        clients[2].say("done", number)
        assert [client.hear() for client in clients] == [["go", number]] * 3
    for client in clients:
        client.say("bye")
    hub.join(10)
    assert not hub.is_alive()


def test_of_several_that_fail_all_hear_of_the_lowest_rank(clients):
    clients[2].say("failed", 2, "input", "third")
    clients[1].say("failed", 1, "fault", "second")
    assert [client.hear() for client in clients] == [["stop", 1, "fault", "second"]] * 3


def test_a_connection_that_breaks_is_a_process_that_was_killed(hub, clients):
    clients.pop().link.close()
    word, rank, kind, text = clients[0].hear()
    assert (word, rank, kind) == ("stop", 2, "lost")
    assert text == "process 3 of 3 (number 2) has ended without a word, as one that was killed"
    for client in clients:
        client.say("bye")
    hub.join(10)
    assert not hub.is_alive()


def test_strangers_are_sent_away(hub, clients):
    with pytest.raises(EOFError):
        Client(hub, "guessed", 0, "a stranger").hear()
    with socket.create_connection(("127.0.0.1", hub.port)) as scanner:
        scanner.sendall(b"GET / HTTP/1.1\r\n\r\n")
        scanner.settimeout(10)
        with pytest.raises(ConnectionResetError):
            scanner.recv(1)
    for client in clients:
        client.say("done", 1)
    assert [client.hear() for client in clients] == [["go", 1]] * 3
