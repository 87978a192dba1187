// SPDX-License-Identifier: BSD-2-Clause
// conformance --list | CASE: runs one case, kills and removes what it leaves.
#include "tests/conformance/internal.h"

#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>

/* A theme is a file and its table, THEME_cases, which ends with an empty row. */
#define THEMES(X)                                                              \
	X(cred)                                                                \
	X(info)                                                                \
	X(sem_get)                                                             \
	X(sem_op)                                                              \
	X(sem_order)                                                           \
	X(sem_time)                                                            \
	X(sem_ctl)                                                             \
	X(sem_undo)                                                            \
	X(sem_perm)                                                            \
	X(sem_bad)                                                             \
	X(sem_thread)                                                          \
	X(msg_get)                                                             \
	X(msg_send)                                                            \
	X(msg_receive)                                                         \
	X(msg_perm)                                                            \
	X(msg_child)                                                           \
	X(random)                                                              \
	X(storm)                                                               \
	X(raw)                                                                 \
	X(handler)                                                             \
	X(sem_crash)                                                           \
	X(shm_get)                                                             \
	X(shm_attach)                                                          \
	X(shm_ctl)                                                             \
	X(shm_life)                                                            \
	X(shm_map)

#define DECLARE(theme) extern const struct conformance_case theme##_cases[];
#define ADDRESS(theme) theme##_cases,

THEMES(DECLARE)

static const struct conformance_case *const tables[] = {THEMES(ADDRESS)};

#define CASE_MS 16000

struct run_state *run_state;

static const struct conformance_case *find_case(const char *name)
{
	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
		for (const struct conformance_case *c = tables[t]; c->name; c++)
			if (!name)
				puts(c->name);
			else if (strcmp(c->name, name) == 0)
				return c;
	return NULL;
}

/* In an actor: the run's objects go, by identifier and by key. */
static long op_clear(void *blob, size_t len)
{
	const struct run_state *state = blob;
	int id;

	(void)len;
	for (int i = 0; i < state->nr_objects; i++) {
		id = state->objects[i].id;
		switch (state->objects[i].kind) {
		case OBJECT_SEM:
			semctl(id, 0, IPC_RMID);
			break;
		case OBJECT_MSG:
			msgctl(id, IPC_RMID, NULL);
			break;
		case OBJECT_SHM:
			shmctl(id, IPC_RMID, NULL);
			break;
		}
	}
	for (int i = 0; i < 256; i++) {
		if ((id = semget(state->keys + i, 0, 0)) >= 0)
			semctl(id, 0, IPC_RMID);
		if ((id = msgget(state->keys + i, 0)) >= 0)
			msgctl(id, IPC_RMID, NULL);
		if ((id = shmget(state->keys + i, 0, 0)) >= 0)
			shmctl(id, IPC_RMID, NULL);
	}
	return 0;
}

/* A process of its own, killed with its children when MS are over. */
static int supervise(void (*run)(void), int ms)
{
	int64_t deadline = now_ms() + ms;
	siginfo_t info = {0};
	pid_t pid;
	int status;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return 3;
	if (pid == 0) {
		setpgid(0, 0);
		names_begin();
		run();
		fflush(stdout);
		_exit(0);
	}
	setpgid(pid, pid);
	while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) ==
		       0 &&
	       info.si_pid == 0 && now_ms() < deadline)
		sleep_ms(4);
	if (info.si_pid == 0)
		printf("the case takes too long\n");
	kill(-pid, SIGKILL);
	if (waitpid(pid, &status, 0) < 0)
		return 3;
	while (waitpid(-1, NULL, 0) > 0)
		;
	return info.si_pid && WIFEXITED(status) ? WEXITSTATUS(status) : 3;
}

static void clear(void)
{
	struct actor *a = actor_start(1);
	static struct run_state copy;

	copy = *run_state;
	/* the one line of it is nobody's output */
	until_begin();
	act(a, op_clear, &copy, sizeof(copy), NULL, "clear");
	_exit(0);
}

int main(int argc, char **argv)
{
	const struct conformance_case *c;
	const char *keys = getenv("CONFORMANCE_KEYS");
	int status;

	if (argc == 2 && strcmp(argv[1], "--actor") == 0)
		return actor_main();
	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		find_case(NULL);
		return 0;
	}
	c = argc == 2 ? find_case(argv[1]) : NULL;
	if (!c) {
		fprintf(stderr, "usage: conformance --list | CASE\n");
		return 2;
	}
	run_state = mmap(NULL, sizeof(*run_state), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run_state == MAP_FAILED ||
	    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) {
		perror("conformance");
		return 1;
	}
	run_state->keys = keys ? (key_t)strtol(keys, NULL, 0)
			       : 0x1d000000 | (getpid() & 0xffff) << 8;
	status = supervise(c->run, scaled_ms(CASE_MS));
	if (supervise(clear, scaled_ms(CASE_MS)) != 0)
		printf("objects could not be removed\n");
	return status;
}
