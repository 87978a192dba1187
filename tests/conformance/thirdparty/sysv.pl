# SPDX-License-Identifier: BSD-2-Clause
# The classes of IPC::SysV: SharedMem, Semaphore, Msg.
use strict;
use warnings;
use IPC::SysV qw(IPC_PRIVATE IPC_CREAT IPC_EXCL S_IRUSR S_IWUSR ftok IPC_NOWAIT
	shmat shmdt memread memwrite);
use IPC::SharedMem;
use IPC::Semaphore;
use IPC::Msg;

my $key = ftok($0, 7) // die "ftok: $!";
my $shm = IPC::SharedMem->new($key, 8192, IPC_CREAT | IPC_EXCL | S_IRUSR | S_IWUSR) //
	die "SharedMem: $!";
$shm->attach // die "attach: $!";
$shm->write('written', 4093, 7) or die "write: $!";
print "read: ", $shm->read(4093, 7), "\n";
my $stat = $shm->stat;
printf "size %d nattch %d mode %o cpid %s\n", $stat->segsz, $stat->nattch,
	$stat->mode & 0777, $stat->cpid == $$ ? 'mine' : $stat->cpid;
my $second = shmat($shm->id, undef, 0) // die "shmat: $!";
memread($second, my $text, 4093, 7) or die "memread: $!";
print "second attachment: $text\n";
memwrite($second, 'changed', 4093, 7) or die "memwrite: $!";
print "through the first: ", $shm->read(4093, 7), "\n";
print "nattch ", $shm->stat->nattch, "\n";
shmdt($second) // die "shmdt: $!";
print "nattch ", $shm->stat->nattch, "\n";
$shm->detach;
print "nattch ", $shm->stat->nattch, "\n";
$shm->remove or die "remove: $!";
print "gone: ", defined $shm->stat ? 'no' : 'yes', "\n";

my $sem = IPC::Semaphore->new(IPC_PRIVATE, 10, S_IRUSR | S_IWUSR | IPC_CREAT) //
	die "Semaphore: $!";
$sem->setall((0) x 10);
$sem->setval(4, 7);
$sem->op(2, 3, IPC_NOWAIT, 4, -2, IPC_NOWAIT) or die "op: $!";
print "values: ", join(' ', $sem->getall), "\n";
print "pid: ", $sem->getpid(2) == $$ ? 'mine' : $sem->getpid(2), "\n";
print "ncnt ", $sem->getncnt(0), " zcnt ", $sem->getzcnt(0), "\n";
my $ds = $sem->stat;
printf "nsems %d mode %o otime %s\n", $ds->nsems, $ds->mode & 0777,
	time - $ds->otime < 5 ? 'now' : $ds->otime;
$sem->set(mode => 0640) // die "set: $!";
printf "mode %o\n", $sem->stat->mode & 0777;
$sem->remove or die "remove: $!";

my $queue = IPC::Msg->new(IPC_PRIVATE, S_IRUSR | S_IWUSR | IPC_CREAT) // die "Msg: $!";
$queue->snd(5, 'five') or die "snd: $!";
$queue->snd(6, 'x' x 3000) or die "snd: $!";
my $state = $queue->stat;
printf "qnum %d qbytes %d lspid %s\n", $state->qnum, $state->qbytes,
	$state->lspid == $$ ? 'mine' : $state->lspid;
my $buffer;
my $type = $queue->rcv($buffer, 4000, 6, IPC_NOWAIT) // die "rcv: $!";
print "type $type, ", length $buffer, " bytes\n";
$type = $queue->rcv($buffer, 4000, 0, IPC_NOWAIT) // die "rcv: $!";
print "type $type: $buffer\n";
$queue->set(qbytes => 1000) // die "set: $!";
print "qbytes ", $queue->stat->qbytes, "\n";
$queue->remove or die "remove: $!";
