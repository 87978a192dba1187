/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A table of cases, each run in its own process with a time limit.
 *
 * A case returns when all is well and leaves through case_fail() or
 * case_skip() otherwise. It need not clean up: its processes are killed and
 * its descriptors closed when it ends.
 */
#ifndef DIPC_TESTS_KERNEL_CASE_H
#define DIPC_TESTS_KERNEL_CASE_H

#include <stddef.h>
#include <string.h>

struct test_case {
	const char *name;
	void (*run)(void);
	int seconds; /* time limit; 0 for the default */
};

/* Runs the table (or the one case that is named) and returns main()'s value. */
int case_main(const struct test_case *cases, size_t nr, const char *only);

void case_fail(const char *fmt, ...)
	__attribute__((noreturn, format(printf, 1, 2)));
void case_skip(const char *fmt, ...)
	__attribute__((noreturn, format(printf, 1, 2)));
/* A measured value or an observation that is not judged. */
void case_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A time limit in milliseconds, stretched by DIPC_TEST_SLOW. */
int case_limit_ms(int ms);

/* Kernel release, as major * 1000 + minor; 6.1 is 6001. */
int case_kernel(void);

#define EXPECT(cond)                                                           \
	do {                                                                   \
		if (!(cond))                                                   \
			case_fail("line %d: %s", __LINE__, #cond);             \
	} while (0)

#define EXPECT_EQ(got, want)                                                   \
	do {                                                                   \
		long got_ = (long)(got), want_ = (long)(want);                 \
		if (got_ != want_)                                             \
			case_fail("line %d: %s is %ld, not %ld", __LINE__,     \
				  #got, got_, want_);                          \
	} while (0)

#define EXPECT_STR(got, want)                                                  \
	do {                                                                   \
		if (strcmp(got, want) != 0)                                    \
			case_fail("line %d: got \"%s\", not \"%s\"", __LINE__, \
				  got, want);                                  \
	} while (0)

#endif
