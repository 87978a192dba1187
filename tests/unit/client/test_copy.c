/* SPDX-License-Identifier: BSD-2-Clause */
/* Bad pointers are an answer, not a crash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/client/copy.h"
#include "runtime/client/fault.h"

#define PAGE 4096u

/* Nothing is attached here. */
bool dipc_fault_retry(const void *addr, bool is_write)
{
	(void)addr;
	(void)is_write;
	return false;
}

/* Three pages: writable, as PROT says, unmapped. */
static char *pages;
static const char text[] = "0123456789abcdef";

static int setup(void **state)
{
	(void)state;
	pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED)
		return -1;
	return munmap(pages + 2 * PAGE, PAGE);
}

static int teardown(void **state)
{
	(void)state;
	return munmap(pages, 2 * PAGE);
}

static void second_page(int prot)
{
	assert_int_equal(mprotect(pages + PAGE, PAGE, prot), 0);
}

static void no_memory__is_EFAULT(void **state)
{
	const uintptr_t bad[] = {0,
				 1,
				 7,
				 8,
				 4095,
				 UINTPTR_MAX,
				 UINTPTR_MAX - 7,
				 0x800000000000u,
				 0xffff888000000000u};
	char to[8];
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(dipc_copy_in(to, (void *)bad[i], 8), -EFAULT);
		assert_int_equal(dipc_copy_in(to, (void *)bad[i], 1), -EFAULT);
		assert_int_equal(dipc_copy_out((void *)bad[i], text, 8),
				 -EFAULT);
		assert_int_equal(dipc_copy_out((void *)bad[i], text, 1),
				 -EFAULT);
	}
}

static void nothing__is_not_looked_at(void **state)
{
	char to;

	(void)state;
	assert_int_equal(dipc_copy_in(&to, NULL, 0), 0);
	assert_int_equal(dipc_copy_out(NULL, &to, 0), 0);
}

/* Every offset and length around the end of what is there. */
static void the_last_bytes__are_enough(void **state)
{
	char *end = pages + 2 * PAGE;
	char to[sizeof(text)];
	size_t len;

	(void)state;
	for (len = 1; len < sizeof(text); len++) {
		assert_int_equal(dipc_copy_out(end - len, text, len), 0);
		assert_int_equal(dipc_copy_in(to, end - len, len), 0);
		assert_memory_equal(to, text, len);
		assert_int_equal(dipc_copy_in(to, end - len, len + 1), -EFAULT);
		assert_int_equal(dipc_copy_out(end - len, text, len + 1),
				 -EFAULT);
	}
}

static void read_only__is_read(void **state)
{
	char to[sizeof(text)];

	(void)state;
	memcpy(pages + PAGE - 4, text, 8);
	second_page(PROT_READ);
	assert_int_equal(dipc_copy_in(to, pages + PAGE - 4, 8), 0);
	assert_memory_equal(to, text, 8);
	assert_int_equal(dipc_copy_out(pages + PAGE, text, 1), -EFAULT);
	second_page(PROT_NONE);
	assert_int_equal(dipc_copy_in(to, pages + PAGE - 4, 8), -EFAULT);
	assert_int_equal(dipc_copy_out(pages + PAGE - 4, text, 8), -EFAULT);
}

/* As the kernel: what comes before the bad page has arrived. */
static void a_bad_second_page__leaves_the_first_written(void **state)
{
	(void)state;
	second_page(PROT_READ);
	assert_int_equal(dipc_copy_out(pages + PAGE - 4, text, 8), -EFAULT);
	assert_memory_equal(pages + PAGE - 4, text, 4);
	assert_memory_equal(pages + PAGE, "\0\0\0\0", 4);
}

static void asking__changes_nothing(void **state)
{
	char all[PAGE], to;
	unsigned i;

	(void)state;
	for (i = 0; i < PAGE; i++)
		all[i] = pages[i] = (char)(i * 7 + 1);
	errno = 12345;
	for (i = 0; i < PAGE; i++) {
		assert_int_equal(dipc_copy_in(&to, pages + i, 1), 0);
		assert_int_equal(dipc_copy_out(pages + i, &to, 1), 0);
	}
	assert_int_equal(dipc_copy_in(&to, NULL, 1), -EFAULT);
	assert_int_equal(dipc_copy_out(NULL, &to, 1), -EFAULT);
	assert_int_equal(errno, 12345);
	assert_memory_equal(pages, all, PAGE);
}

static void long_ones__arrive_whole(void **state)
{
	char *big = malloc(20 * PAGE), *to = malloc(20 * PAGE);
	unsigned i;

	(void)state;
	assert_non_null(big);
	assert_non_null(to);
	for (i = 0; i < 20 * PAGE; i++)
		big[i] = (char)(i % 251);
	assert_int_equal(dipc_copy_in(to + 3, big + 5, 19 * PAGE), 0);
	assert_memory_equal(to + 3, big + 5, 19 * PAGE);
	memset(to, 0, 20 * PAGE);
	assert_int_equal(dipc_copy_out(to + 5, big + 3, 19 * PAGE), 0);
	assert_memory_equal(to + 5, big + 3, 19 * PAGE);
	free(big);
	free(to);
}

/* ---- a segment: pages that come when they are touched -------------------- */

/* Two pages, each of which is missed once. */
static void *serve(void *arg)
{
	static char page[PAGE] __attribute__((aligned(PAGE)));
	int fd = *(int *)arg;
	struct uffd_msg msg;
	unsigned i;

	memset(page, 'p', PAGE);
	for (i = 0; i < 2 && read(fd, &msg, sizeof(msg)) == sizeof(msg); i++) {
		struct uffdio_copy copy = {.src = (uintptr_t)page, .len = PAGE};

		copy.dst = msg.arg.pagefault.address & ~(uint64_t)(PAGE - 1);
		if (ioctl(fd, UFFDIO_COPY, &copy))
			break;
	}
	return NULL;
}

static void pages_of_a_userfaultfd__are_waited_for(void **state)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	pthread_t server;
	char *seg, to[4];
	int fd;

	(void)state;
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (fd < 0 && errno == EPERM) {
		print_message("userfaultfd is for the privileged here\n");
		skip();
	}
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, UFFDIO_API, &api), 0);
	seg = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(seg, MAP_FAILED);
	reg.range.start = (uintptr_t)seg;
	reg.range.len = 2 * PAGE;
	assert_int_equal(ioctl(fd, UFFDIO_REGISTER, &reg), 0);
	assert_int_equal(pthread_create(&server, NULL, serve, &fd), 0);

	assert_int_equal(dipc_copy_in(to, seg + 10, 4), 0);
	assert_memory_equal(to, "pppp", 4);
	assert_int_equal(dipc_copy_out(seg + PAGE + 10, text, 4), 0);
	assert_memory_equal(seg + PAGE + 8, "pp0123pp", 8);

	pthread_join(server, NULL);
	munmap(seg, 2 * PAGE);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_memory__is_EFAULT),
		cmocka_unit_test(nothing__is_not_looked_at),
		cmocka_unit_test_setup_teardown(the_last_bytes__are_enough,
						setup, teardown),
		cmocka_unit_test_setup_teardown(read_only__is_read, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			a_bad_second_page__leaves_the_first_written, setup,
			teardown),
		cmocka_unit_test_setup_teardown(asking__changes_nothing, setup,
						teardown),
		cmocka_unit_test(long_ones__arrive_whole),
		cmocka_unit_test(pages_of_a_userfaultfd__are_waited_for),
	};

	return cmocka_run_group_tests_name("client.copy", tests, NULL, NULL);
}
