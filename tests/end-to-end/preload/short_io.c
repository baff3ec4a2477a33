/* Loaded into the server by tests/short_io.rs: reads and writes of regular files move fewer bytes than asked for, and every
   third call is interrupted before it moves any. Both are allowed by POSIX and hardly ever seen. At a clean exit the number
   of calls that were cut short goes to the file named by SHORT_IO_COUNT. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_ulong calls, shortened;

/* How many of `count` bytes to move; -1 for none and EINTR. */
static ssize_t cut(int fd, size_t count) {
  struct stat status;
  if (count < 2 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return (ssize_t)count;
  unsigned long call = atomic_fetch_add(&calls, 1);
  atomic_fetch_add(&shortened, 1);
  if (call % 3 == 2) {
    errno = EINTR;
    return -1;
  }
  /* Between one byte and all but one; large buffers in pieces that do not take for ever. */
  size_t piece = 1 + (call * 7919) % (count - 1);
  size_t least = count / 16;
  return (ssize_t)(piece < least ? least : piece);
}

#define REAL(name) \
  static __typeof__(name) *real; \
  if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t read(int fd, void *bytes, size_t count) {
  REAL(read);
  ssize_t piece = cut(fd, count);
  return piece < 0 ? -1 : real(fd, bytes, (size_t)piece);
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t at) {
  REAL(pread64);
  ssize_t piece = cut(fd, count);
  return piece < 0 ? -1 : real(fd, bytes, (size_t)piece, at);
}

ssize_t write(int fd, const void *bytes, size_t count) {
  REAL(write);
  ssize_t piece = cut(fd, count);
  return piece < 0 ? -1 : real(fd, bytes, (size_t)piece);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
  REAL(pwrite64);
  ssize_t piece = cut(fd, count);
  return piece < 0 ? -1 : real(fd, bytes, (size_t)piece, at);
}

ssize_t readv(int fd, const struct iovec *pieces, int count) {
  REAL(readv);
  if (count < 1 || pieces[0].iov_len < 2) return real(fd, pieces, count);
  return read(fd, pieces[0].iov_base, pieces[0].iov_len);
}

ssize_t writev(int fd, const struct iovec *pieces, int count) {
  REAL(writev);
  struct stat status;
  if (count < 1 || pieces[0].iov_len < 2 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
    return real(fd, pieces, count);
  }
  return write(fd, pieces[0].iov_base, pieces[0].iov_len);
}

__attribute__((destructor)) static void report(void) {
  const char *path = getenv("SHORT_IO_COUNT");
  FILE *file = path ? fopen(path, "w") : NULL;
  if (!file) return;
  fprintf(file, "%lu\n", atomic_load(&shortened));
  fclose(file);
}
