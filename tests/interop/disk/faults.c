/* Stands between the box and the disk of its journal (LD_PRELOAD). The file that DRAWBRIDGE_FAULT names says what is wrong with
 * that disk now: "r", it takes no writes; "s" and a number, each fsync takes so many milliseconds. Without the file: nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_of_journal(int fd)
{
	char link[64], path[4096];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, path, sizeof(path) - 1);
	if (length <= 0)
		return 0;
	path[length] = 0;
	return strstr(path, "drawbridge.db") != NULL;
}

/* What is wrong: 0, 'r', or 's' with the milliseconds. */
static char fault(unsigned *milliseconds)
{
	char text[32] = "";
	const char *control = getenv("DRAWBRIDGE_FAULT");
	int fd = control ? open(control, O_RDONLY | O_CLOEXEC) : -1;

	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	*milliseconds = (unsigned)strtoul(text[0] ? text + 1 : text, NULL, 10);
	return text[0];
}

static int refuses(int fd)
{
	unsigned ignored;

	if (fault(&ignored) != 'r' || !is_of_journal(fd))
		return 0;
	errno = EROFS;
	return 1;
}

ssize_t write(int fd, const void *data, size_t count)
{
	return refuses(fd) ? -1 : REAL(write)(fd, data, count);
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t at)
{
	return refuses(fd) ? -1 : REAL(pwrite)(fd, data, count, at);
}

ssize_t pwrite64(int fd, const void *data, size_t count, off64_t at)
{
	return refuses(fd) ? -1 : REAL(pwrite64)(fd, data, count, at);
}

static int sync_late(int fd)
{
	unsigned milliseconds;

	if (fault(&milliseconds) == 's' && is_of_journal(fd))
		usleep(milliseconds * 1000);
	return refuses(fd);
}

int fsync(int fd)
{
	return sync_late(fd) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
	return sync_late(fd) ? -1 : REAL(fdatasync)(fd);
}
