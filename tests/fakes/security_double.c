/*
 * Stands in for CoreFoundation and Security.framework where there is no macOS: the functions and constants that amesh
 * uses, written from Apple's public headers, with OpenSSL for the mathematics. Never part of a release.
 *
 * It is at least as strict as the original: what macOS answers by an error is one here, what crashes there or has no
 * defined result is counted as a bad call. Objects have a reference count and are never freed, so that every release
 * too many is seen. Keys lie as files in a directory and outlive the process.
 *
 * What is read from the environment, at every call:
 *   AMESH_DOUBLE_DIRECTORY  where keys lie (keys/), what is counted (counts/PID: "live over-released bad") and
 *                           what a person was asked (dialogs)
 *   AMESH_DOUBLE_SCRIPT     what goes wrong: FUNCTION=WHAT or FUNCTION#N=WHAT (the Nth call only), separated by commas;
 *                           WHAT is a status, "null" (no result and no error), "done" (success, and nothing is done;
 *                           SecItemDelete only), "dialog" (a person is asked first), or "sleep:MS"
 *   AMESH_DOUBLE_SESSION    "graphic", "remote" or both; default none
 *   AMESH_DOUBLE_KEYCHAIN   "locked", "missing" or "read-only"; default none of these
 *   AMESH_DOUBLE_SIGNED     how this process is signed: "TEAM IDENTIFIER", "ad-hoc" or "broken"; default not at all.
 *                           A file on disk is signed as the file beside it says that has ".signature" at its end.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef long CFIndex;
typedef unsigned char Boolean;
typedef int32_t OSStatus;

enum {
  errSecSuccess = 0,
  errSecParam = -50,
  errSecUserCanceled = -128,
  errSecAuthFailed = -25293,
  errSecItemNotFound = -25300,
  errSecNoDefaultKeychain = -25307,
  errSecInteractionNotAllowed = -25308,
  errSecReadOnly = -25292,
  errSecMissingEntitlement = -34018,
  errSecCSUnsigned = -67062,
  errSecCSSignatureFailed = -67061,
  errSecCSReqInvalid = -67052,
  errSecCSReqFailed = -67050,
};

/* ---- Objects ---- */

enum { STRING = 1, DATA, NUMBER, BOOLEAN, ARRAY, DICTIONARY, ERROR, URL, KEY, KEYCHAIN, CODE, STATIC_CODE, REQUIREMENT };
#define LIVE 0x414d4553484c4956ull
#define DEAD 0x4445414444454144ull

typedef struct Object {
  uint64_t magic;
  int type, count, immortal;
  /* Bytes of a string, data, URL or requirement; elements of an array; pairs of a dictionary. */
  long length;
  unsigned char *bytes;
  struct Object **keys, **values;
  long number;
  struct Object *domain;
  EVP_PKEY *key;
  int isPrivate, hasPublicRecord;
} Object;
typedef Object *Ref;

static long live, overReleased, badCalls;

static const char *directory(void) { return getenv("AMESH_DOUBLE_DIRECTORY"); }

static void report(void) {
  const char *place = directory();
  char path[4096], line[100];
  if (!place) return;
  snprintf(path, sizeof path, "%s/counts/%d", place, getpid());
  int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) return;
  /* A fixed length, so that nothing has to be cut off. */
  int length = snprintf(line, sizeof line, "%09ld %09ld %09ld\n", live, overReleased, badCalls);
  if (pwrite(file, line, (size_t)length, 0) != length) abort();
  close(file);
}

static void *bad(void) {
  badCalls++;
  report();
  return NULL;
}

static Ref make(int type) {
  Ref object = calloc(1, sizeof *object);
  *object = (Object){.magic = LIVE, .type = type, .count = 1};
  live++;
  report();
  return object;
}

static Ref makeBytes(int type, const void *bytes, long length) {
  Ref object = make(type);
  object->length = length;
  object->bytes = calloc(1, (size_t)length + 1);
  if (length > 0) memcpy(object->bytes, bytes, (size_t)length);
  return object;
}

static Ref makeConstant(int type, const char *text) {
  Ref object = makeBytes(type, text, (long)strlen(text));
  object->immortal = 1;
  live--;
  return object;
}

/* Whether this is a living object of that type (0: of any). */
static int is(Ref object, int type) {
  if (object && object->magic == LIVE && (type == 0 || object->type == type)) return 1;
  bad();
  return 0;
}

Ref CFRetain(Ref object) {
  if (is(object, 0) && !object->immortal) object->count++;
  return object;
}

void CFRelease(Ref object) {
  if (object && object->magic == DEAD) {
    overReleased++;
    report();
    return;
  }
  if (!is(object, 0) || object->immortal || --object->count > 0) return;
  for (long i = 0; object->values && i < object->length; i++) {
    if (object->keys) CFRelease(object->keys[i]);
    CFRelease(object->values[i]);
  }
  if (object->domain) CFRelease(object->domain);
  if (object->key) EVP_PKEY_free(object->key);
  /* Whoever still reads it gets nothing that looks right. */
  if (object->bytes) memset(object->bytes, 0xdd, (size_t)object->length);
  object->magic = DEAD;
  live--;
  report();
}

Ref CFDataCreate(Ref allocator, const uint8_t *bytes, CFIndex length) {
  if (allocator || length < 0 || (!bytes && length > 0)) return bad();
  return makeBytes(DATA, bytes, length);
}
CFIndex CFDataGetLength(Ref data) { return is(data, DATA) ? data->length : 0; }
const uint8_t *CFDataGetBytePtr(Ref data) { return is(data, DATA) ? data->bytes : NULL; }

#define UTF8 0x08000100u

Ref CFStringCreateWithCString(Ref allocator, const char *text, uint32_t encoding) {
  if (allocator || !text || encoding != UTF8) return bad();
  return makeBytes(STRING, text, (long)strlen(text));
}
CFIndex CFStringGetLength(Ref string) { return is(string, STRING) ? string->length : 0; }
CFIndex CFStringGetMaximumSizeForEncoding(CFIndex length, uint32_t encoding) {
  if (encoding != UTF8) bad();
  return length * 3;
}
Boolean CFStringGetCString(Ref string, char *buffer, CFIndex size, uint32_t encoding) {
  if (!is(string, STRING) || encoding != UTF8) return 0;
  if (size <= string->length) return 0;
  memcpy(buffer, string->bytes, (size_t)string->length + 1);
  return 1;
}

Ref CFNumberCreate(Ref allocator, CFIndex type, const void *value) {
  if (allocator || type != 3 || !value) return bad();
  Ref number = make(NUMBER);
  number->number = *(const int32_t *)value;
  return number;
}

CFIndex CFArrayGetCount(Ref array) { return is(array, ARRAY) ? array->length : 0; }
Ref CFArrayGetValueAtIndex(Ref array, CFIndex index) {
  if (!is(array, ARRAY)) return NULL;
  return index >= 0 && index < array->length ? array->values[index] : bad();
}

struct {
  CFIndex version;
  void *functions[5];
} kCFTypeDictionaryKeyCallBacks, kCFTypeDictionaryValueCallBacks;

Ref CFDictionaryCreate(Ref allocator, Ref *keys, Ref *values, CFIndex length, const void *keyCalls, const void *valueCalls) {
  if (allocator || keyCalls != &kCFTypeDictionaryKeyCallBacks || valueCalls != &kCFTypeDictionaryValueCallBacks) return bad();
  for (CFIndex i = 0; i < length; i++) {
    if (!is(keys[i], STRING) || !is(values[i], 0)) return NULL;
  }
  Ref dictionary = make(DICTIONARY);
  dictionary->length = length;
  dictionary->keys = calloc((size_t)length + 1, sizeof(Ref));
  dictionary->values = calloc((size_t)length + 1, sizeof(Ref));
  for (CFIndex i = 0; i < length; i++) {
    dictionary->keys[i] = CFRetain(keys[i]);
    dictionary->values[i] = CFRetain(values[i]);
  }
  return dictionary;
}

static Ref value(Ref dictionary, Ref key) {
  for (long i = 0; i < dictionary->length; i++) {
    if (dictionary->keys[i] == key) return dictionary->values[i];
  }
  return NULL;
}

CFIndex CFErrorGetCode(Ref error) { return is(error, ERROR) ? error->number : 0; }
Ref CFErrorGetDomain(Ref error) { return is(error, ERROR) ? error->domain : NULL; }
Ref CFErrorCopyDescription(Ref error) {
  return is(error, ERROR) ? makeBytes(STRING, error->bytes, error->length) : NULL;
}

Ref CFURLCreateFromFileSystemRepresentation(Ref allocator, const uint8_t *path, CFIndex length, Boolean isDirectory) {
  if (allocator || !path || length < 1 || isDirectory) return bad();
  return makeBytes(URL, path, length);
}

Ref kCFBooleanTrue, kCFBooleanFalse;
static Ref domainOfStatus;

#define CONSTANTS(X)                                                                                                      \
  X(kSecClass) X(kSecClassKey) X(kSecAttrKeyType) X(kSecAttrKeyTypeECSECPrimeRandom) X(kSecAttrKeySizeInBits)             \
  X(kSecAttrKeyClass) X(kSecAttrKeyClassPrivate) X(kSecAttrApplicationTag) X(kSecAttrLabel) X(kSecAttrIsPermanent)        \
  X(kSecAttrIsExtractable) X(kSecPrivateKeyAttrs) X(kSecPublicKeyAttrs) X(kSecReturnRef) X(kSecMatchLimit)                \
  X(kSecMatchLimitOne) X(kSecMatchLimitAll) X(kSecUseDataProtectionKeychain) X(kSecAttrTokenID) X(kSecAttrAccessControl)  \
  X(kSecKeyAlgorithmECDSASignatureDigestX962SHA256)
#define DECLARE(name) Ref name;
CONSTANTS(DECLARE)

__attribute__((constructor)) static void makeConstants(void) {
#define MAKE(name) name = makeConstant(STRING, #name);
  CONSTANTS(MAKE)
  domainOfStatus = makeConstant(STRING, "NSOSStatusErrorDomain");
  kCFBooleanTrue = makeConstant(BOOLEAN, "");
  kCFBooleanFalse = makeConstant(BOOLEAN, "");
}

/* ---- What goes wrong ---- */

#define NO_RESULT 1
#define DONE 2
static int interactionAllowed = 1;

/* What a person is asked, whom there need not be; who is there says yes. */
static OSStatus ask(const char *what) {
  char path[4096];
  if (!interactionAllowed) return errSecInteractionNotAllowed;
  snprintf(path, sizeof path, "%s/dialogs", directory() ? directory() : ".");
  FILE *dialogs = fopen(path, "ae");
  if (dialogs) {
    fprintf(dialogs, "%s\n", what);
    fclose(dialogs);
  }
  const char *session = getenv("AMESH_DOUBLE_SESSION");
  if (session && strstr(session, "graphic")) return errSecSuccess;
  /* A dialog that nobody sees waits for ever; a test need not. */
  sleep(20);
  bad();
  return errSecUserCanceled;
}

/* What AMESH_DOUBLE_SCRIPT says of this call. Another script begins to count anew. */
static OSStatus scripted(const char *function) {
  static char script[1000];
  static struct {
    const char *name;
    int calls;
  } counted[32];
  const char *now = getenv("AMESH_DOUBLE_SCRIPT");
  if (strcmp(script, now ? now : "") != 0) {
    snprintf(script, sizeof script, "%s", now ? now : "");
    memset(counted, 0, sizeof counted);
  }
  int nth = 0;
  for (int i = 0; i < 32 && nth == 0; i++) {
    if (!counted[i].name) counted[i].name = function;
    if (counted[i].name == function) nth = ++counted[i].calls;
  }
  char copy[1000], *rest = copy, *entry;
  snprintf(copy, sizeof copy, "%s", script);
  OSStatus status = errSecSuccess;
  while ((entry = strsep(&rest, ","))) {
    char *what = strchr(entry, '=');
    if (!what) continue;
    *what++ = 0;
    char *number = strchr(entry, '#');
    if (number) *number++ = 0;
    if (strcmp(entry, function) != 0 || (number && atoi(number) != nth)) continue;
    if (strcmp(what, "null") == 0) status = NO_RESULT;
    else if (strcmp(what, "dialog") == 0) status = ask(function);
    else if (strcmp(what, "done") == 0) status = DONE;
    else if (strncmp(what, "sleep:", 6) == 0) usleep((useconds_t)atoi(what + 6) * 1000);
    else status = atoi(what);
  }
  return status;
}
#define SCRIPTED() scripted(__func__)

static void *fail(Ref *error, OSStatus status) {
  char text[100];
  if (!error || status == NO_RESULT) return NULL;
  int length = snprintf(text, sizeof text, "what the double says of %d", status);
  *error = makeBytes(ERROR, text, length);
  (*error)->number = status;
  (*error)->domain = CFRetain(domainOfStatus);
  return NULL;
}

Ref SecCopyErrorMessageString(OSStatus status, void *reserved) {
  char text[100];
  if (reserved) return bad();
  return makeBytes(STRING, text, snprintf(text, sizeof text, "what the double says of %d", status));
}

/* ---- The keychain ---- */

static int keychainIs(const char *state) {
  const char *now = getenv("AMESH_DOUBLE_KEYCHAIN");
  return now && strcmp(now, state) == 0;
}

/* Before a private key is used or stored. */
static OSStatus unlock(void) {
  if (keychainIs("missing")) return errSecNoDefaultKeychain;
  return keychainIs("locked") ? ask("unlock") : errSecSuccess;
}

/* A record of keys/: `tag HEX`, `label HEX`, `extractable N`, `public N`, then the private key in PEM. */
static void keyPath(char *path, size_t size, const char *name) {
  snprintf(path, size, "%s/keys/%s", directory() ? directory() : ".", name);
}

static void writeHex(FILE *file, const char *name, Ref bytes) {
  fprintf(file, "%s ", name);
  for (long i = 0; bytes && i < bytes->length; i++) fprintf(file, "%02x", bytes->bytes[i]);
  fprintf(file, "\n");
}

static int writeKey(EVP_PKEY *key, Ref tag, Ref label, int extractable, int hasPublicRecord) {
  struct timespec now;
  char name[100], path[4096];
  clock_gettime(CLOCK_REALTIME, &now);
  snprintf(name, sizeof name, "%012ld%09ld-%d", (long)now.tv_sec, now.tv_nsec, getpid());
  keyPath(path, sizeof path, name);
  FILE *file = fopen(path, "wxe");
  if (!file) return 0;
  writeHex(file, "tag", tag);
  writeHex(file, "label", label);
  fprintf(file, "extractable %d\npublic %d\n", extractable, hasPublicRecord);
  int good = PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
  return fclose(file) == 0 && good;
}

/* The key of a record that has this tag (NULL: any), or NULL. */
static EVP_PKEY *readKey(const char *path, Ref tag, int *hasPublicRecord) {
  char line[4096], hex[2049] = "";
  FILE *file = fopen(path, "re");
  if (!file) return NULL;
  int matches = fgets(line, sizeof line, file) && sscanf(line, "tag %2048s", hex) >= 0;
  matches = matches && (!tag || strlen(hex) == (size_t)tag->length * 2);
  for (long i = 0; matches && tag && i < tag->length; i++) {
    unsigned byte;
    matches = sscanf(hex + 2 * i, "%2x", &byte) == 1 && byte == tag->bytes[i];
  }
  while (matches && fgets(line, sizeof line, file) && sscanf(line, "public %d", hasPublicRecord) != 1) {}
  EVP_PKEY *key = matches ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
  fclose(file);
  return key;
}

static int isName(const struct dirent *entry) { return entry->d_name[0] != '.'; }

/* Calls `use` for every record with a tag, the oldest first, until it says 0. */
static long eachKey(Ref tag, int (*use)(const char *path, EVP_PKEY *key, int hasPublicRecord, void *with), void *with) {
  char folder[4096], path[8192];
  struct dirent **names = NULL;
  long found = 0;
  int more = 1;
  keyPath(folder, sizeof folder, "");
  int count = scandir(folder, &names, isName, alphasort);
  for (int i = 0; i < count; i++) {
    int hasPublicRecord = 0;
    keyPath(path, sizeof path, names[i]->d_name);
    EVP_PKEY *key = more ? readKey(path, tag, &hasPublicRecord) : NULL;
    if (key) {
      found++;
      more = use(path, key, hasPublicRecord, with);
      EVP_PKEY_free(key);
    }
    free(names[i]);
  }
  free(names);
  return found;
}

/* The tag of a pair of attributes for a new key, or NULL where they are wrong. */
static Ref tagOfAttributes(Ref attributes, int *isPermanent) {
  if (!attributes || attributes->type != DICTIONARY) return NULL;
  Ref permanent = value(attributes, kSecAttrIsPermanent), tag = value(attributes, kSecAttrApplicationTag);
  if (permanent && permanent->type != BOOLEAN) return NULL;
  *isPermanent = permanent == kCFBooleanTrue;
  return tag && tag->type == DATA ? tag : NULL;
}

Ref SecKeyCreateRandomKey(Ref attributes, Ref *error) {
  OSStatus status = SCRIPTED();
  if (status) return fail(error, status);
  if (!is(attributes, DICTIONARY)) return fail(error, errSecParam);
  /* The data protection keychain, which a bare executable cannot use: it is chosen by any of these. */
  if (value(attributes, kSecUseDataProtectionKeychain) != kCFBooleanFalse || value(attributes, kSecAttrTokenID) ||
      value(attributes, kSecAttrAccessControl))
    return fail(error, errSecMissingEntitlement);
  Ref size = value(attributes, kSecAttrKeySizeInBits), label = value(attributes, kSecAttrLabel);
  if (value(attributes, kSecAttrKeyType) != kSecAttrKeyTypeECSECPrimeRandom || !size || size->type != NUMBER ||
      size->number != 256 || (label && label->type != STRING))
    return fail(error, errSecParam);
  int isPermanent = 0, isPublicPermanent = 0;
  Ref tag = tagOfAttributes(value(attributes, kSecPrivateKeyAttrs), &isPermanent);
  Ref publicTag = tagOfAttributes(value(attributes, kSecPublicKeyAttrs), &isPublicPermanent);
  if (!tag || !isPermanent) return fail(error, errSecParam);
  if ((status = unlock())) return fail(error, status);
  if (keychainIs("read-only")) return fail(error, errSecReadOnly);
  Ref key = make(KEY);
  key->key = EVP_EC_gen("P-256");
  key->isPrivate = 1;
  key->hasPublicRecord = publicTag && isPublicPermanent;
  /* Only here, and not among the attributes of the private key, is it heeded. */
  int extractable = value(attributes, kSecAttrIsExtractable) != kCFBooleanFalse;
  if (!writeKey(key->key, tag, label, extractable, key->hasPublicRecord)) {
    CFRelease(key);
    return fail(error, errSecNoDefaultKeychain);
  }
  return key;
}

/* The tag that a query asks for; a query that macOS would not understand, or answer otherwise, is a bad call. */
static OSStatus readQuery(Ref query, Ref *tag) {
  if (!is(query, DICTIONARY) || value(query, kSecClass) != kSecClassKey) return errSecParam;
  *tag = value(query, kSecAttrApplicationTag);
  Ref limit = value(query, kSecMatchLimit);
  if (!*tag || (*tag)->type != DATA) return bad(), errSecParam;
  if (limit && limit != kSecMatchLimitOne && limit != kSecMatchLimitAll) return errSecParam;
  return errSecSuccess;
}
static int isDataProtection(Ref query) { return value(query, kSecUseDataProtectionKeychain) != kCFBooleanFalse; }

static int collect(const char *path, EVP_PKEY *found, int hasPublicRecord, void *with) {
  (void)path;
  Ref array = with, key = make(KEY);
  EVP_PKEY_up_ref(found);
  key->key = found;
  key->isPrivate = 1;
  key->hasPublicRecord = hasPublicRecord;
  array->values = realloc(array->values, ((size_t)array->length + 1) * sizeof(Ref));
  array->values[array->length++] = key;
  return 1;
}

OSStatus SecItemCopyMatching(Ref query, Ref *result) {
  OSStatus status = SCRIPTED();
  Ref tag;
  if (status) return status;
  if ((status = readQuery(query, &tag))) return status;
  if (value(query, kSecAttrKeyClass) != kSecAttrKeyClassPrivate || value(query, kSecReturnRef) != kCFBooleanTrue || !result)
    return errSecParam;
  /* Readable, and always empty, for who may not use it. */
  if (isDataProtection(query) || keychainIs("missing")) return errSecItemNotFound;
  Ref found = make(ARRAY);
  if (eachKey(tag, collect, found) == 0) {
    CFRelease(found);
    return errSecItemNotFound;
  }
  if (value(query, kSecMatchLimit) == kSecMatchLimitAll) {
    *result = found;
  } else {
    *result = CFRetain(found->values[0]);
    CFRelease(found);
  }
  return errSecSuccess;
}

static int removeRecord(const char *path, EVP_PKEY *key, int hasPublicRecord, void *with) {
  (void)key, (void)hasPublicRecord;
  unlink(path);
  return *(int *)with;
}

OSStatus SecItemDelete(Ref query) {
  OSStatus status = SCRIPTED();
  Ref tag;
  if (status) return status == DONE ? errSecSuccess : status;
  if ((status = readQuery(query, &tag))) return status;
  if (isDataProtection(query)) return errSecMissingEntitlement;
  if (keychainIs("read-only")) return errSecReadOnly;
  int all = value(query, kSecMatchLimit) == kSecMatchLimitAll;
  if (keychainIs("missing") || eachKey(tag, removeRecord, &all) == 0) return errSecItemNotFound;
  return errSecSuccess;
}

Ref SecKeyCopyPublicKey(Ref key) {
  if (SCRIPTED() || !is(key, KEY)) return NULL;
  Ref public = make(KEY);
  EVP_PKEY_up_ref(key->key);
  public->key = key->key;
  public->hasPublicRecord = key->hasPublicRecord;
  return public;
}

Ref SecKeyCopyExternalRepresentation(Ref key, Ref *error) {
  OSStatus status = SCRIPTED();
  if (status) return fail(error, status);
  if (!is(key, KEY)) return fail(error, errSecParam);
  if (key->isPrivate || !key->hasPublicRecord) return fail(error, errSecAuthFailed);
  unsigned char *point = NULL;
  size_t length = EVP_PKEY_get1_encoded_public_key(key->key, &point);
  Ref data = makeBytes(DATA, point, (long)length);
  OPENSSL_free(point);
  return data;
}

Ref SecKeyCreateSignature(Ref key, Ref algorithm, Ref data, Ref *error) {
  OSStatus status = SCRIPTED();
  if (status) return fail(error, status);
  if (!is(key, KEY) || !key->isPrivate || !is(data, DATA) || data->length != 32 ||
      algorithm != kSecKeyAlgorithmECDSASignatureDigestX962SHA256)
    return fail(error, errSecParam);
  if ((status = unlock())) return fail(error, status);
  unsigned char signature[128];
  size_t length = sizeof signature;
  EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key->key, NULL);
  int good = EVP_PKEY_sign_init(context) > 0 && EVP_PKEY_sign(context, signature, &length, data->bytes, 32) > 0;
  EVP_PKEY_CTX_free(context);
  return good ? makeBytes(DATA, signature, (long)length) : fail(error, errSecParam);
}

/* ---- The state of things ---- */

OSStatus SecKeychainCopyDefault(Ref *keychain) {
  OSStatus status = SCRIPTED();
  if (status) return status;
  if (keychainIs("missing")) return errSecNoDefaultKeychain;
  *keychain = make(KEYCHAIN);
  return errSecSuccess;
}

OSStatus SecKeychainGetStatus(Ref keychain, uint32_t *bits) {
  OSStatus status = SCRIPTED();
  if (status) return status;
  if (!is(keychain, KEYCHAIN)) return errSecParam;
  /* kSecReadPermStatus, kSecUnlockStateStatus, kSecWritePermStatus; macOS does not look at the modes of the file. */
  *bits = 2u | (keychainIs("locked") ? 0u : 1u | 4u);
  return errSecSuccess;
}

OSStatus SecKeychainGetPath(Ref keychain, uint32_t *size, char *path) {
  static const char double_[] = "/Users/double/Library/Keychains/login.keychain-db";
  OSStatus status = SCRIPTED();
  if (status) return status;
  if (!is(keychain, KEYCHAIN) || *size < sizeof double_) return errSecParam;
  memcpy(path, double_, sizeof double_);
  *size = sizeof double_ - 1;
  return errSecSuccess;
}

OSStatus SecKeychainSetUserInteractionAllowed(Boolean allowed) {
  OSStatus status = SCRIPTED();
  if (!status) interactionAllowed = allowed;
  return status;
}

OSStatus SessionGetInfo(uint32_t session, uint32_t *id, uint32_t *attributes) {
  OSStatus status = SCRIPTED();
  if (status) return status;
  if (session != 0xffffffffu) return bad(), errSecParam;
  const char *now = getenv("AMESH_DOUBLE_SESSION");
  if (id) *id = 100001;
  *attributes = (now && strstr(now, "graphic") ? 0x10u : 0) | (now && strstr(now, "remote") ? 0x1000u : 0);
  return errSecSuccess;
}

/* ---- Code signatures ---- */

OSStatus SecCodeCopySelf(uint32_t flags, Ref *code) {
  OSStatus status = SCRIPTED();
  if (status) return status;
  if (flags != 0) return bad(), errSecParam;
  const char *signature = getenv("AMESH_DOUBLE_SIGNED");
  *code = makeBytes(CODE, signature, signature ? (long)strlen(signature) : 0);
  return errSecSuccess;
}

OSStatus SecStaticCodeCreateWithPath(Ref url, uint32_t flags, Ref *code) {
  OSStatus status = SCRIPTED();
  if (status) return status;
  if (!is(url, URL) || flags != 0) return bad(), errSecParam;
  char path[5000], signature[100] = "";
  snprintf(path, sizeof path, "%s", (char *)url->bytes);
  /* kPOSIXErrorBase + ENOENT */
  if (access(path, F_OK) != 0) return 100002;
  strcat(path, ".signature");
  FILE *file = fopen(path, "re");
  if (file) {
    if (fgets(signature, sizeof signature, file)) signature[strcspn(signature, "\n")] = 0;
    fclose(file);
  }
  *code = makeBytes(STATIC_CODE, signature, (long)strlen(signature));
  return errSecSuccess;
}

/* Only the requirement that amesh is to make, of which the team and the identifier are kept. */
OSStatus SecRequirementCreateWithString(Ref text, uint32_t flags, Ref *requirement) {
  OSStatus status = SCRIPTED();
  if (status) return status;
  if (!is(text, STRING) || flags != 0) return bad(), errSecParam;
  char team[11], identifier[50], signature[100];
  int end = 0;
  sscanf((char *)text->bytes,
         "anchor apple generic and certificate 1[field.1.2.840.113635.100.6.2.6] exists and "
         "certificate leaf[field.1.2.840.113635.100.6.1.13] exists and "
         "certificate leaf[subject.OU] = \"%10[A-Z0-9]\" and identifier \"%49[a-z.-]\"%n",
         team, identifier, &end);
  if (end == 0 || text->bytes[end] != 0) return bad(), errSecCSReqInvalid;
  *requirement = makeBytes(REQUIREMENT, signature, snprintf(signature, sizeof signature, "%s %s", team, identifier));
  return errSecSuccess;
}

static OSStatus check(Ref code, int type, Ref requirement) {
  /* Without a requirement any signature would do, also one ad hoc. */
  if (!is(code, type) || !is(requirement, REQUIREMENT)) return errSecParam;
  const char *signature = (char *)code->bytes;
  if (signature[0] == 0) return errSecCSUnsigned;
  if (strcmp(signature, "broken") == 0) return errSecCSSignatureFailed;
  return strcmp(signature, (char *)requirement->bytes) == 0 ? errSecSuccess : errSecCSReqFailed;
}

OSStatus SecCodeCheckValidity(Ref code, uint32_t flags, Ref requirement) {
  OSStatus status = SCRIPTED();
  if (status) return status;
  return flags == 0 ? check(code, CODE, requirement) : (bad(), errSecParam);
}

OSStatus SecStaticCodeCheckValidity(Ref code, uint32_t flags, Ref requirement) {
  OSStatus status = SCRIPTED();
  /* kSecCSCheckAllArchitectures and kSecCSStrictValidate: a universal binary has one signature for each. */
  if (status) return status;
  return flags == 0x11u ? check(code, STATIC_CODE, requirement) : (bad(), errSecParam);
}

/* ---- For the tests ---- */

long amesh_double_live(void) { return live; }
long amesh_double_over_released(void) { return overReleased; }
long amesh_double_bad_calls(void) { return badCalls; }
