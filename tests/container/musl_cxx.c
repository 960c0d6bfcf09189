/*
 * Lets Debian's libstdc++.so.6 and libgcc_s.so.1, which are made for glibc, run on musl: Debian has no libstdc++ made
 * for musl, and what Bun's runtime needs of it is 37 functions. musl takes libc.so.6 and libm.so.6 for itself and heeds no
 * symbol versions, so that a few symbols are all that is missing. This library stands where glibc's loader would, whose
 * name libstdc++ asks for. Made for the tests: Alpine's libstdc++ needs none of it.
 */
#include <locale.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

/* "There are threads": libstdc++ then always counts with atomic operations. */
char __libc_single_threaded = 0;

/* libgcc's view of the processor, for functions with several versions; nothing here has them. */
unsigned __cpu_model[4];
int __cpu_indicator_init(void) { return 0; }

uint32_t arc4random(void) {
  uint32_t value;
  if (getrandom(&value, sizeof value, 0) != sizeof value) abort();
  return value;
}

size_t __strftime_l(char *text, size_t size, const char *format, const struct tm *time, locale_t locale) {
  return strftime_l(text, size, format, time, locale);
}

/* "Not found": the unwinder then asks dl_iterate_phdr, as it does on Alpine. */
int _dl_find_object(void *address, void *result) {
  (void)address;
  (void)result;
  return -1;
}

struct destructor {
  struct destructor *next;
  void (*run)(void *);
  void *object;
};

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void run_all(void *first) {
  for (struct destructor *entry = first; entry != NULL;) {
    struct destructor *next = entry->next;
    entry->run(entry->object);
    free(entry);
    entry = next;
  }
}

static void make_key(void) {
  if (pthread_key_create(&key, run_all) != 0) abort();
}

int __cxa_thread_atexit_impl(void (*run)(void *), void *object, void *library) {
  (void)library;
  pthread_once(&once, make_key);
  struct destructor *entry = malloc(sizeof *entry);
  if (entry == NULL) return -1;
  *entry = (struct destructor){pthread_getspecific(key), run, object};
  return pthread_setspecific(key, entry);
}
