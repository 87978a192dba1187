# SPDX-License-Identifier: BSD-2-Clause
# Python's sysv_ipc module, and the C library straight from ctypes.
import ctypes
import os
import struct
import sysv_ipc

KEY = 0x7D100002


def attempt(name, fn):
    try:
        print(name, fn())
    except Exception as error:
        print(name, type(error).__name__, error.args[0])


shm = sysv_ipc.SharedMemory(KEY, sysv_ipc.IPC_CREX, size=8192)
attempt("again", lambda: sysv_ipc.SharedMemory(KEY, sysv_ipc.IPC_CREX, size=8192))
shm.write(b"from python", 4090)
print(shm.read(11, 4090), shm.size, shm.number_attached, oct(shm.mode))
print("creator", shm.creator_pid == os.getpid(), "last", shm.last_pid == os.getpid())
pid = os.fork()
if pid == 0:
    shm.write(b"child", 0)
    os._exit(0)
os.waitpid(pid, 0)
print(shm.read(5), "attached", shm.number_attached)
shm.mode = 0o640
print(oct(shm.mode))
shm.detach()
print("attached", shm.number_attached)
attempt("read detached", lambda: shm.read(5))
shm.attach(flags=sysv_ipc.SHM_RDONLY)
print(shm.read(5))
shm.detach()
shm.remove()
attempt("gone", lambda: sysv_ipc.SharedMemory(KEY))

sem = sysv_ipc.Semaphore(KEY, sysv_ipc.IPC_CREX, initial_value=2)
sem.acquire()
sem.acquire()
sem.block = False
attempt("would block", sem.acquire)
sem.block = True
attempt("timeout", lambda: sem.acquire(timeout=0.05))
sem.release(3)
print("value", sem.value, "last", sem.last_pid == os.getpid(), sem.waiting_for_nonzero)
sem.value = 0
sem.Z()
sem.undo = True
pid = os.fork()
if pid == 0:
    sem.release(5)
    os._exit(0)
os.waitpid(pid, 0)
print("undone", sem.value)
sem.remove()
attempt("acquire", sem.acquire)

queue = sysv_ipc.MessageQueue(KEY, sysv_ipc.IPC_CREX, max_message_size=4096)
for kind in (5, 3, 4):
    queue.send(b"message %d" % kind, type=kind)
print(queue.current_messages, queue.max_size, oct(queue.mode))
print(queue.receive(type=-4), queue.receive(type=4), queue.receive())
attempt("empty", lambda: queue.receive(block=False))
attempt("too long", lambda: queue.send(b"x" * 9000))
queue.remove()

# No wrapper at all: symbols of libc itself, and system calls by number. They
# must find what the module made.
libc = ctypes.CDLL("libc.so.6", use_errno=True)
libc.syscall.restype = ctypes.c_long
queue = sysv_ipc.MessageQueue(KEY, sysv_ipc.IPC_CREX)
msqid = libc.msgget(KEY, 0)
print("msgget", msqid == queue.id)
message = struct.pack("l5s", 9, b"bytes")
print("msgsnd", libc.msgsnd(msqid, message, 5, 0), queue.receive())
print("by number", libc.syscall(69, msqid, message, ctypes.c_size_t(5), 0), queue.receive())
print("msgget by number", libc.syscall(68, KEY, 0) == queue.id)
queue.send(b"to be read by number", type=4)
room = ctypes.create_string_buffer(100)
print(libc.syscall(70, msqid, room, ctypes.c_size_t(80), ctypes.c_long(0), 0), room.raw[8:28])
print("msgctl", libc.msgctl(msqid, 0, None), libc.msgctl(msqid, 0, None), ctypes.get_errno())
attempt("gone", lambda: sysv_ipc.MessageQueue(KEY))
