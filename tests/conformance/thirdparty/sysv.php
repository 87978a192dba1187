<?php
// SPDX-License-Identifier: BSD-2-Clause
// PHP's sysvshm, sysvsem and sysvmsg, which PHP opens with RTLD_DEEPBIND.
foreach (['sysvshm', 'sysvsem', 'sysvmsg'] as $extension)
	if (!extension_loaded($extension))
		die("no $extension\n");
$key = ftok(__FILE__, 'd');

$shm = shm_attach($key, 10000, 0600);
var_dump(shm_put_var($shm, 1, ['a' => 1, 'b' => [2, 3]]));
var_dump(shm_put_var($shm, 2, str_repeat('x', 5000)));
var_dump(shm_has_var($shm, 1), shm_has_var($shm, 3));
print_r(shm_get_var($shm, 1));
var_dump(strlen(shm_get_var($shm, 2)));
var_dump(@shm_put_var($shm, 3, str_repeat('y', 9000)));
var_dump(shm_remove_var($shm, 2));
shm_detach($shm);
$shm = shm_attach($key);
print_r(shm_get_var($shm, 1));
var_dump(shm_remove($shm));

$sem = sem_get($key, 2, 0600, true);
var_dump(sem_acquire($sem), sem_acquire($sem), sem_acquire($sem, true));
var_dump(sem_release($sem), sem_acquire($sem, true));
var_dump(sem_release($sem), sem_release($sem), @sem_release($sem));
var_dump(sem_remove($sem));
var_dump(@sem_acquire($sem));

$queue = msg_get_queue($key, 0600);
var_dump(msg_send($queue, 12, ['an' => 'array']));
var_dump(msg_send($queue, 7, 'raw text', false));
$stat = msg_stat_queue($queue);
printf("%d messages, mode %o, %s\n", $stat['msg_qnum'], $stat['msg_perm.mode'],
	$stat['msg_lspid'] == getmypid() ? 'mine' : 'not mine');
var_dump(msg_receive($queue, 7, $type, 1000, $text, false), $type, $text);
var_dump(msg_receive($queue, 0, $type, 1000, $value), $type);
print_r($value);
var_dump(msg_receive($queue, 0, $type, 1000, $value, true, MSG_IPC_NOWAIT, $error),
	$error === MSG_ENOMSG);
var_dump(msg_set_queue($queue, ['msg_qbytes' => 2000]));
var_dump(msg_stat_queue($queue)['msg_qbytes']);
var_dump(msg_queue_exists($key), msg_remove_queue($queue), msg_queue_exists($key));
