/*
 * strike REPORT DIRECTORY N WHAT COMMAND [ARGUMENT]...
 *
 * Runs a command and, when it is about to change something below DIRECTORY for the Nth time, kills it or lets that
 * system call fail. WHAT is `kill`, an errno (`ENOSPC`), or an errno and `+`: then every later change fails as well.
 * With N = 0 nothing is struck.
 *
 * Counted are the calls below, of all threads and children, whose path or descriptor lies in DIRECTORY, in the order
 * in which they are made; opening for reading is none of them. The one that is struck has no effect. REPORT gets a
 * line for each: `= rename /old /new`, or `* rename /old /new` for one that was struck. So trying N = 1, 2, 3 … until
 * there is no `*` misses nothing, and no timing is involved: the kernel holds the caller (seccomp user notification)
 * until the answer is there.
 *
 * Exit code: that of the command; 128 + n when signal n ended it; 125 when this program itself fails. It needs
 * CAP_SYS_PTRACE, because amesh forbids others to read its memory, and the paths are in there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452
#endif
#define FAILED 125
#define NONE -1

/* Which arguments of a call say what it changes; NONE where there is no such argument. */
struct place {
  int dirfd; /* a descriptor: of the directory that a path starts from, or without a path of the file itself */
  int path;
};
struct call {
  int number;
  const char *name;
  struct place first, second;
  int flags; /* of open(2) */
};

#define FD(argument) ((struct place){argument, NONE})
#define PATH(argument) ((struct place){NONE, argument})
#define AT(dirfd, path) ((struct place){dirfd, path})
#define NOTHING ((struct place){NONE, NONE})
#define OPEN(name, place, flags) {__NR_##name, #name, place, NOTHING, flags}
#define CALL1(name, place) {__NR_##name, #name, place, NOTHING, NONE}
#define CALL2(name, first, second) {__NR_##name, #name, first, second, NONE}

static const struct call calls[] = {
#ifdef __NR_open /* architectures that are not new */
  OPEN(open, PATH(0), 1),
  CALL1(creat, PATH(0)),
  CALL2(rename, PATH(0), PATH(1)),
  CALL2(link, PATH(0), PATH(1)),
  CALL1(symlink, PATH(1)),
  CALL1(unlink, PATH(0)),
  CALL1(rmdir, PATH(0)),
  CALL1(mkdir, PATH(0)),
  CALL1(chmod, PATH(0)),
#endif
#ifdef __NR_renameat
  CALL2(renameat, AT(0, 1), AT(2, 3)),
#endif
  OPEN(openat, AT(0, 1), 2),
  OPEN(openat2, AT(0, 1), 2),
  CALL2(renameat2, AT(0, 1), AT(2, 3)),
  CALL2(linkat, AT(0, 1), AT(2, 3)),
  CALL1(symlinkat, AT(1, 2)),
  CALL1(unlinkat, AT(0, 1)),
  CALL1(mkdirat, AT(0, 1)),
  CALL1(fchmodat, AT(0, 1)),
  CALL1(fchmodat2, AT(0, 1)),
  CALL1(fchmod, FD(0)),
  CALL1(truncate, PATH(0)),
  CALL1(ftruncate, FD(0)),
  CALL1(fallocate, FD(0)),
  CALL1(write, FD(0)),
  CALL1(pwrite64, FD(0)),
  CALL1(writev, FD(0)),
  CALL1(pwritev, FD(0)),
  CALL1(pwritev2, FD(0)),
  CALL1(sendfile, FD(0)),
  CALL1(copy_file_range, FD(2)),
  CALL1(fsync, FD(0)),
  CALL1(fdatasync, FD(0)),
};
#define CALLS (sizeof calls / sizeof calls[0])

static pid_t child;

static void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("strike: ", stderr);
  vfprintf(stderr, format, arguments);
  fprintf(stderr, ": %s\n", strerror(errno));
  if (child > 0) kill(-child, SIGKILL);
  exit(FAILED);
}

/* The thread that makes the call, stopped in it. */
static const struct seccomp_notif *caller;

static void read_memory(unsigned long long address, void *buffer, size_t size) {
  char name[64];
  snprintf(name, sizeof name, "/proc/%d/mem", caller->pid);
  int memory = open(name, O_RDONLY | O_CLOEXEC);
  /* Less than was asked for is all right: what follows a string may not be mapped. */
  if (memory < 0 || pread(memory, buffer, size, (off_t)address) <= 0) die("cannot read %s", name);
  close(memory);
}

static void read_link(char *target, const char *format, int fd) {
  char what[32], name[64];
  snprintf(what, sizeof what, format, fd);
  snprintf(name, sizeof name, "/proc/%d/%s", caller->pid, what);
  ssize_t length = readlink(name, target, PATH_MAX - 1);
  if (length < 0 && errno != ENOENT) die("cannot read %s", name);
  target[length < 0 ? 0 : length] = '\0'; /* not an open descriptor: the call will say so */
}

/* The absolute path that a place names, without symbolic links but for the last component; empty when there is none. */
static void resolve(char *path, struct place place) {
  char name[PATH_MAX] = "", joined[2 * PATH_MAX];
  *path = '\0';
  int dirfd = place.dirfd == NONE ? AT_FDCWD : (int)caller->data.args[place.dirfd];
  if (place.path != NONE) read_memory(caller->data.args[place.path], name, sizeof name - 1);
  else if (place.dirfd == NONE) return;
  if (*name != '/') read_link(path, dirfd == AT_FDCWD ? "cwd" : "fd/%d", dirfd);
  if (*name == '\0') return;
  snprintf(joined, sizeof joined, "%s%s%s", path, *name == '/' ? "" : "/", name);
  char *last = strrchr(joined, '/');
  *last++ = '\0';
  if (realpath(*joined == '\0' ? "/" : joined, path) == NULL) { /* it will fail: there is no such directory */
    *path = '\0';
    return;
  }
  snprintf(name, sizeof name, "/%s", last);
  strncat(path, name, PATH_MAX - 1 - strlen(path));
}

static int is_below(const char *path, const char *directory) {
  size_t length = strlen(directory);
  return strncmp(path, directory, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static int changes_nothing(const struct call *call) {
  if (call->flags == NONE) return 0;
  unsigned long long flags = caller->data.args[call->flags];
  if (call->number == __NR_openat2) read_memory(flags, &flags, sizeof flags);
  return (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) == 0;
}

/* Whether the call is in scope; then `text` is what it does. */
static int describe(char *text, size_t size, const char *directory) {
  char first[PATH_MAX], second[PATH_MAX];
  const struct call *call = calls;
  while (call->number != caller->data.nr) call++;
  if (changes_nothing(call)) return 0;
  resolve(first, call->first);
  resolve(second, call->second);
  if (!is_below(first, directory) && !is_below(second, directory)) return 0;
  snprintf(text, size, "%s %s%s%s", call->name, first, *second == '\0' ? "" : " ", second);
  return 1;
}

/* In the child: has the kernel ask before each of the calls. The descriptor for that is closed by exec. */
static void install_filter(void) {
  struct sock_filter code[2 * CALLS + 4], *next = code;
#define IF(number, action) \
  *next++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1); \
  *next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action)
  *next++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (size_t i = 0; i < CALLS; i++) { IF(calls[i].number, SECCOMP_RET_USER_NOTIF); }
  /* What goes through a ring is seen by no filter. */
  IF(__NR_io_uring_setup, SECCOMP_RET_ERRNO | ENOSYS);
  *next++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = {.len = (unsigned short)(next - code), .filter = code};
  /* A garbage collector stops threads by signals: without the second flag one would make a call count twice. */
  unsigned flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) < 0) {
    _exit(FAILED);
  }
}

static int errno_of(const char *name, size_t length) {
  for (int number = 1; number < 200; number++) {
    const char *known = strerrorname_np(number);
    if (known != NULL && strlen(known) == length && strncmp(known, name, length) == 0) return number;
  }
  errno = EINVAL;
  die("unknown: %s", name);
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 6) {
    fputs("usage: strike REPORT DIRECTORY N kill|ERRNO|ERRNO+ COMMAND [ARGUMENT]...\n", stderr);
    return FAILED;
  }
  char directory[PATH_MAX], text[2 * PATH_MAX + 64];
  FILE *report = fopen(argv[1], "we");
  if (report == NULL) die("cannot write %s", argv[1]);
  if (realpath(argv[2], directory) == NULL) die("cannot use %s", argv[2]);
  long at = atol(argv[3]), count = 0;
  size_t length = strlen(argv[4]);
  int stays = argv[4][length - 1] == '+', kills = strcmp(argv[4], "kill") == 0;
  int failure = kills ? 0 : errno_of(argv[4], length - (size_t)stays);

  struct seccomp_notif_sizes sizes;
  if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) != 0) die("cannot use seccomp");
  struct seccomp_notif *request = malloc(sizes.seccomp_notif);
  struct seccomp_notif_resp *response = malloc(sizes.seccomp_notif_resp);
  if (request == NULL || response == NULL) die("no memory");
  caller = request;

  /* The child has our table of descriptors until it executes the command, and this process stands still meanwhile: so
     the listener, which gets the lowest number that is free, stays here, without being sent. */
  int listener = dup(STDERR_FILENO);
  close(listener);
  child = (pid_t)syscall(SYS_clone, CLONE_FILES | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0);
  if (child < 0) die("cannot fork");
  if (child == 0) {
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    install_filter();
    execvp(argv[5], argv + 5);
    _exit(FAILED);
  }
  int process = (int)syscall(SYS_pidfd_open, child, 0);
  if (process < 0) die("cannot watch the command");

  for (;;) {
    struct pollfd ready[] = {{listener, POLLIN, 0}, {process, POLLIN, 0}};
    if (poll(ready, 2, -1) < 0) die("cannot wait");
    if ((ready[0].revents & POLLIN) == 0) break;
    memset(request, 0, sizes.seccomp_notif);
    memset(response, 0, sizes.seccomp_notif_resp);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, request) != 0) continue; /* the caller has ended meanwhile */
    response->id = request->id;
    response->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    if (describe(text, sizeof text, directory)) {
      count++;
      int struck = at > 0 && (count == at || (stays && count > at));
      fprintf(report, "%c %s\n", struck ? '*' : '=', text);
      if (struck && kills) break;
      if (struck) {
        response->flags = 0;
        response->error = -failure;
      }
    }
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, response);
  }
  /* What is stopped in a call dies in it; what the command may have started ends with it. */
  kill(-child, SIGKILL);
  int status;
  if (waitpid(child, &status, 0) != child) die("cannot wait");
  if (fclose(report) != 0) die("cannot write %s", argv[1]);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
