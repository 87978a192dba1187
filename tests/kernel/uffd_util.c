/* SPDX-License-Identifier: BSD-2-Clause */
#include "uffd_util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGEMAP_UFFD_WP (UINT64_C(1) << 57)

int memfd_make(size_t len)
{
	int fd = memfd_create("kernel-test", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (fchmod(fd, 0600) || ftruncate(fd, (off_t)len)) {
		int ret = -errno;

		close(fd);
		return ret;
	}
	return fd;
}

int memfd_reopen(int memfd, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int memfd_punch(int memfd, unsigned page, unsigned nr)
{
	int how = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	if (fallocate(memfd, how, (off_t)(page * PAGE_BYTES),
		      (off_t)(nr * PAGE_BYTES)))
		return -errno;
	return 0;
}

long memfd_pages(int memfd)
{
	struct stat st;

	if (fstat(memfd, &st))
		return -errno;
	return (long)st.st_blocks * 512 / (long)PAGE_BYTES;
}

int uffd_open(void)
{
	int flags = O_CLOEXEC | O_NONBLOCK;
	int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int fd = -1;

	if (dev >= 0) {
		fd = ioctl(dev, USERFAULTFD_IOC_NEW, flags);
		close(dev);
	}
	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, flags);
	return fd < 0 ? -errno : fd;
}

static int do_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) ? -errno : 0;
}

int uffd_api(int uffd, uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};

	return do_ioctl(uffd, UFFDIO_API, &api);
}

int uffd_register(int uffd, uint64_t addr, size_t len, uint64_t mode)
{
	struct uffdio_register reg = {.range = {addr, len}, .mode = mode};

	return do_ioctl(uffd, UFFDIO_REGISTER, &reg);
}

int uffd_copy(int uffd, uint64_t addr, const void *src, size_t len,
	      uint64_t mode)
{
	struct uffdio_copy copy = {
		.dst = addr,
		.src = (uintptr_t)src,
		.len = len,
		.mode = mode,
	};

	return do_ioctl(uffd, UFFDIO_COPY, &copy);
}

static int set_protection(int uffd, uint64_t addr, size_t len, uint64_t mode)
{
	struct uffdio_writeprotect wp = {.range = {addr, len}, .mode = mode};

	return do_ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);
}

int uffd_protect(int uffd, uint64_t addr, size_t len)
{
	return set_protection(uffd, addr, len, UFFDIO_WRITEPROTECT_MODE_WP);
}

int uffd_unprotect(int uffd, uint64_t addr, size_t len)
{
	return set_protection(uffd, addr, len, 0);
}

int uffd_unprotect_quiet(int uffd, uint64_t addr, size_t len)
{
	return set_protection(uffd, addr, len,
			      UFFDIO_WRITEPROTECT_MODE_DONTWAKE);
}

int uffd_wake(int uffd, uint64_t addr, size_t len)
{
	struct uffdio_range range = {addr, len};

	return do_ioctl(uffd, UFFDIO_WAKE, &range);
}

int uffd_poison(int uffd, uint64_t addr, size_t len)
{
	struct uffdio_poison poison = {.range = {addr, len}};

	return do_ioctl(uffd, UFFDIO_POISON, &poison);
}

int pagemap_open(pid_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

bool pagemap_is_wp(int pagemap, uint64_t addr)
{
	uint64_t entry = 0;
	off_t at = (off_t)(addr / PAGE_BYTES * sizeof(entry));

	if (pread(pagemap, &entry, sizeof(entry), at) != sizeof(entry))
		return false;
	return entry & PAGEMAP_UFFD_WP;
}

union fd_control {
	char buf[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

int fd_send(int sock, int fd)
{
	char byte = 0;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	union fd_control control = {.buf = {0}};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *hdr = CMSG_FIRSTHDR(&msg);

	hdr->cmsg_level = SOL_SOCKET;
	hdr->cmsg_type = SCM_RIGHTS;
	hdr->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(hdr), &fd, sizeof(fd));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -errno;
}

int fd_recv(int sock)
{
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	union fd_control control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *hdr;
	int fd;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != 1)
		return -EPIPE;
	hdr = CMSG_FIRSTHDR(&msg);
	if (!hdr || hdr->cmsg_type != SCM_RIGHTS)
		return -EBADMSG;
	memcpy(&fd, CMSG_DATA(hdr), sizeof(fd));
	return fd;
}

double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}
