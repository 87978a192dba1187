/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names of threads: what lives is alive, what has ended is not, in the same
 * node, in another, and in one that is gone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/node/job.h"
#include "runtime/node/owner.h"
#include "tests/support/fake_fabric.h"

static struct dipc_node node[3];
static int answer;

/* ---- two nodes and a table, in the fake fabric --------------------------- */

static void on_request(void *arg, struct dipc_incoming *in)
{
	struct dipc_answer a = {
		.status = dipc_owner_is_here(arg, in->request.arg[0])};

	dipc_incoming_answer(in, &a);
}

static const struct dipc_fabric_events events = {.request = on_request};

static int start(void **state)
{
	unsigned i;

	(void)state;
	fake_world_start(1, DIPC_USEC);
	for (i = 1; i <= 2; i++) {
		memset(&node[i], 0, sizeof(node[i]));
		node[i].incarnation = 70 + i;
		node[i].fabric = fake_fabric_create(i, &events, &node[i]);
		fake_world_node(i)->state =
			(uint64_t)DIPC_NODE_ALIVE << 32 | (70 + i);
	}
	return 0;
}

static bool never(void)
{
	return false;
}

static int stop(void **state)
{
	(void)state;
	(void)fake_world_run(never, DIPC_SEC); /* what is under way arrives */
	fake_world_stop();
	return 0;
}

struct question {
	unsigned from;
	uint64_t owner;
};

static void ask_fiber(void *arg)
{
	const struct question *q = arg;

	answer = dipc_owner_is_alive(&node[q->from], q->owner);
}

static int is_alive(unsigned from, uint64_t owner)
{
	struct question q = {.from = from, .owner = owner};

	assert_int_equal(dipc_fiber_spawn(fake_world_sched(), ask_fiber, &q),
			 0);
	assert_true(fake_world_run(NULL, DIPC_SEC));
	return answer;
}

static uint32_t own_tid(void)
{
	return (uint32_t)syscall(SYS_gettid);
}

static uint64_t own_name(unsigned at)
{
	return dipc_owner_name(&node[at], (uint32_t)getpid(), own_tid());
}

/* ---- threads and processes ---------------------------------------------- */

static pthread_barrier_t barrier;

static void *thread_main(void *tid)
{
	*(uint32_t *)tid = own_tid();
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

static void self__is_alive_from_everywhere(void **state)
{
	uint64_t name = own_name(1);

	(void)state;
	assert_int_not_equal(name, 0);
	assert_int_equal(name >> 63, 0);
	assert_true(name == own_name(1)); /* the same for life */
	assert_int_equal(is_alive(1, name), 1);
	assert_int_equal(is_alive(2, name), 1);
	assert_int_equal(is_alive(1, 0), -EINVAL);
	assert_int_equal(is_alive(1, name ^ 1ull << 40), 0);
}

static void thread__ends_alone(void **state)
{
	uint64_t name, self = own_name(2);
	pthread_t thread;
	uint32_t tid;

	(void)state;
	pthread_barrier_init(&barrier, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, thread_main, &tid), 0);
	pthread_barrier_wait(&barrier);
	name = dipc_owner_name(&node[2], (uint32_t)getpid(), tid);
	assert_true(name != self);
	assert_int_equal(is_alive(1, name), 1);
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	/* joined is a moment before it is gone */
	while (syscall(SYS_tgkill, getpid(), tid, 0) == 0)
		usleep(1000);
	assert_int_equal(is_alive(1, name), 0);
	assert_int_equal(is_alive(2, name), 0);
	assert_int_equal(is_alive(1, self), 1);
	pthread_barrier_destroy(&barrier);
}

/* Not yet waited for: a zombie holds no lock any more. */
static void process__killed_is_gone(void **state)
{
	pid_t pid = fork();
	siginfo_t info;
	uint64_t name;

	(void)state;
	if (pid == 0) {
		pause();
		_exit(0);
	}
	name = dipc_owner_name(&node[1], (uint32_t)pid, (uint32_t)pid);
	assert_int_equal(is_alive(2, name), 1);
	kill(pid, SIGKILL);
	waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
	assert_int_equal(is_alive(2, name), 0);
	waitpid(pid, NULL, 0);
	assert_int_equal(is_alive(1, name), 0);
}

static void exec__is_gone(void **state)
{
	int go[2], done[2];
	uint64_t name;
	pid_t pid;
	char c;

	(void)state;
	assert_int_equal(pipe(go), 0);
	assert_int_equal(pipe(done), 0);
	pid = fork();
	if (pid == 0) {
		if (read(go[0], &c, 1) != 1)
			_exit(1);
		dup2(done[1], 1);
		execlp("sh", "sh", "-c", "echo; exec sleep 100", NULL);
		_exit(1);
	}
	name = dipc_owner_name(&node[1], (uint32_t)pid, (uint32_t)pid);
	assert_int_equal(is_alive(2, name), 1);
	assert_int_equal(write(go[1], "", 1), 1);
	assert_int_equal(read(done[0], &c, 1), 1);
	assert_int_equal(is_alive(2, name), 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(go[0]);
	close(go[1]);
	close(done[0]);
	close(done[1]);
}

/* ---- nodes -------------------------------------------------------------- */

static void node__dead_or_another(void **state)
{
	uint64_t name = own_name(2);

	(void)state;
	node[2].incarnation++;
	assert_int_equal(is_alive(1, name), 0);
	node[2].incarnation--;
	assert_int_equal(is_alive(1, name), 1);
	fake_node_crash(2);
	/* not yet known to be out: nobody may take over */
	assert_int_equal(is_alive(1, name), -ENOLINK);
	fake_world_node(2)->state = (uint64_t)DIPC_NODE_DEAD << 32 | 72;
	assert_int_equal(is_alive(1, name), 0);
}

/* Of another pid namespace: alive as long as its node, and no two alike. */
static void unseen__lives_as_its_node(void **state)
{
	uint64_t name = dipc_owner_name(&node[1], (uint32_t)getpid(), 1);

	(void)state;
	assert_int_not_equal(getpid(), 1);
	assert_true(name != dipc_owner_name(&node[1], (uint32_t)getpid(), 1));
	assert_int_equal(is_alive(2, name), 1);
	node[1].incarnation++;
	assert_int_equal(is_alive(2, name), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(self__is_alive_from_everywhere,
						start, stop),
		cmocka_unit_test_setup_teardown(thread__ends_alone, start,
						stop),
		cmocka_unit_test_setup_teardown(process__killed_is_gone, start,
						stop),
		cmocka_unit_test_setup_teardown(exec__is_gone, start, stop),
		cmocka_unit_test_setup_teardown(node__dead_or_another, start,
						stop),
		cmocka_unit_test_setup_teardown(unseen__lives_as_its_node,
						start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
