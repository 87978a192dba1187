# SPDX-License-Identifier: BSD-2-Clause
# Perl's own shm, sem and msg functions: what they return, errno included.
use strict;
use warnings;
use IPC::SysV qw(IPC_CREAT IPC_EXCL IPC_PRIVATE IPC_RMID IPC_STAT IPC_NOWAIT
	GETALL SETALL GETVAL SETVAL GETNCNT SEM_UNDO MSG_NOERROR);

sub say_call {
	my ($name, $value) = @_;
	my $error = $!{EINVAL} ? 'EINVAL' : $!{EEXIST} ? 'EEXIST' :
		$!{ENOENT} ? 'ENOENT' : $!{EAGAIN} ? 'EAGAIN' :
		$!{ENOMSG} ? 'ENOMSG' : $!{E2BIG} ? 'E2BIG' :
		$!{EIDRM} ? 'EIDRM' : $!{ERANGE} ? 'ERANGE' : "$!";
	print "$name: ", $value ? $value : $error, "\n";
}

my $key = 0x7d100001;
my $shm = shmget($key, 100_000, IPC_CREAT | IPC_EXCL | 0600) // die "shmget: $!";
say_call('shmget again', shmget($key, 100_000, IPC_CREAT | IPC_EXCL | 0600));
say_call('shmget larger', shmget($key, 200_000, 0));
say_call('shmwrite', shmwrite($shm, "page crossing text", 4090, 18));
my $text;
say_call('shmread', shmread($shm, $text, 4090, 18));
print "text: $text\n";
say_call('shmread, rest', shmread($shm, $text, 99_990, 10));
print "zeros: ", $text eq "\0" x 10 ? 'yes' : 'no', "\n";
say_call('shmread beyond', shmread($shm, $text, 99_995, 10));
if ((my $pid = fork) == 0) {
	shmwrite($shm, "child", 0, 5);
	exit 0;
} else {
	waitpid $pid, 0;
}
shmread($shm, $text, 0, 5);
print "after the child: $text\n";

my $sem = semget(IPC_PRIVATE, 3, IPC_CREAT | 0600) // die "semget: $!";
say_call('SETALL', semctl($sem, 0, SETALL, pack 's!*', 1, 2, 3));
my $all = '';
say_call('GETALL', semctl($sem, 0, GETALL, $all));
print "values: ", join(' ', unpack 's!*', $all), "\n";
say_call('semop', semop($sem, pack 's!3 s!3', 0, -1, 0, 2, 4, 0));
say_call('semop none', semop($sem, pack 's!3 s!3', 1, -1, 0, 0, -1, IPC_NOWAIT));
semctl($sem, 0, GETALL, $all);
print "values: ", join(' ', unpack 's!*', $all), "\n";
say_call('SETVAL', semctl($sem, 1, SETVAL, 40000));
if ((my $pid = fork) == 0) {
	semop($sem, pack 's!3', 1, -2, SEM_UNDO);
	exit 0;
} else {
	waitpid $pid, 0;
}
print "undone: ", semctl($sem, 1, GETVAL, 0), "\n";
my $blocked = fork // die "fork: $!";
if ($blocked == 0) {
	my $ok = semop($sem, pack 's!3', 0, -1, 0);
	print "blocked semop: ", $ok ? 'ok' : $!{EIDRM} ? 'EIDRM' : "$!", "\n";
	exit 0;
}
select undef, undef, undef, 0.01 until semctl($sem, 0, GETNCNT, 0) == 1;
say_call('IPC_RMID', semctl($sem, 0, IPC_RMID, 0));
waitpid $blocked, 0;
say_call('GETVAL after', semctl($sem, 0, GETVAL, 0));

my $queue = msgget($key, IPC_CREAT | 0600) // die "msgget: $!";
for my $type (3, 1, 2) {
	say_call("msgsnd $type", msgsnd($queue, pack('l! a*', $type, "type $type"), 0));
}
my $got;
for my $want (2, -3, 0) {
	say_call("msgrcv $want", msgrcv($queue, $got, 100, $want, IPC_NOWAIT));
	my ($type, $body) = unpack 'l! a*', $got;
	print "got $type: $body\n";
}
say_call('msgrcv empty', msgrcv($queue, $got, 100, 0, IPC_NOWAIT));
msgsnd($queue, pack('l! a*', 1, 'x' x 50), 0);
say_call('msgrcv small', msgrcv($queue, $got, 10, 0, IPC_NOWAIT));
say_call('msgrcv cut', msgrcv($queue, $got, 10, 0, IPC_NOWAIT | MSG_NOERROR));
say_call('msgctl', msgctl($queue, IPC_RMID, 0));
say_call('msgsnd after', msgsnd($queue, pack('l! a*', 1, ''), 0));
say_call('shmctl', shmctl($shm, IPC_RMID, 0));
