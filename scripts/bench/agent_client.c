/*
 * Measures an ssh-agent: how many signatures a second it makes, and how long each takes.
 *
 *   agent_client SOCKET CONNECTIONS IN_FLIGHT SIGNATURES
 *
 * Each connection keeps IN_FLIGHT requests to sign under way until SIGNATURES answers are there, of all
 * connections together. Signed is what ssh signs to log in (RFC 4252 section 7), each time with another session
 * id, by the first ecdsa-sha2-nistp256 key that the agent lists. Prints "signatures seconds p50 p99", the last two
 * in microseconds, and ends with 0 when every answer was a signature.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* draft-ietf-sshm-ssh-agent, section 6.1 */
enum { REQUEST_IDENTITIES = 11, IDENTITIES_ANSWER = 12, SIGN_REQUEST = 13, SIGN_RESPONSE = 14 };
enum { USERAUTH_REQUEST = 50 };

#define ALGORITHM "ecdsa-sha2-nistp256"
#define SESSION_ID_BYTES 32
#define MAX_CONNECTIONS 1024
#define MAX_IN_FLIGHT 1024
#define MAX_FRAME (256 * 1024)
#define FAILED 1

struct connection {
	int fd;
	/* What has been read and not looked at. */
	uint8_t input[MAX_FRAME];
	size_t filled;
	/* When each request under way was sent, oldest first: a ring. */
	uint64_t sent[MAX_IN_FLIGHT];
	size_t oldest, under_way;
};

static uint8_t request[2048];
static size_t request_bytes, session_id_at;
static uint64_t *latencies;
static size_t wanted, begun, done;

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static uint32_t get_u32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void set_u32(uint8_t *at, size_t value)
{
	for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void put_byte(uint8_t value)
{
	if (request_bytes == sizeof request) errx(FAILED, "the request is too long");
	request[request_bytes++] = value;
}

static void put_u32(size_t value)
{
	for (int i = 0; i < 4; i++) put_byte((uint8_t)(value >> (24 - 8 * i)));
}

static void put_string(const void *bytes, size_t length)
{
	put_u32(length);
	for (size_t i = 0; i < length; i++) put_byte(((const uint8_t *)bytes)[i]);
}

static void put_text(const char *text)
{
	put_string(text, strlen(text));
}

/* Takes the string at *at, which ends before `end` at the latest, and goes behind it. */
static const uint8_t *take_string(const uint8_t **at, const uint8_t *end, size_t *length)
{
	if (end - *at < 4) errx(FAILED, "an answer is truncated");
	*length = get_u32(*at);
	const uint8_t *start = *at + 4;
	if ((size_t)(end - start) < *length) errx(FAILED, "an answer is truncated");
	*at = start + *length;
	return start;
}

static bool begins_with_algorithm(const uint8_t *blob, size_t length)
{
	const uint8_t *at = blob;
	size_t name_bytes;
	const uint8_t *name = take_string(&at, blob + length, &name_bytes);
	return name_bytes == strlen(ALGORITHM) && memcmp(name, ALGORITHM, name_bytes) == 0;
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof address.sun_path) errx(FAILED, "%s: too long for a socket", path);
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) err(FAILED, "socket");
	if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) err(FAILED, "%s", path);
	return fd;
}

static void send_all(int fd, const uint8_t *bytes, size_t length)
{
	while (length > 0) {
		ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR) continue;
		if (sent < 0) err(FAILED, "send");
		bytes += sent;
		length -= (size_t)sent;
	}
}

/* Waits for bytes and adds them to the input. */
static void fill(struct connection *connection)
{
	ssize_t got;
	do {
		size_t room = sizeof connection->input - connection->filled;
		got = recv(connection->fd, connection->input + connection->filled, room, 0);
	} while (got < 0 && errno == EINTR);
	if (got < 0) err(FAILED, "recv");
	if (got == 0) errx(FAILED, "the agent closed the connection after %zu signatures", done);
	connection->filled += (size_t)got;
}

/* Bytes of the frame at `at`, with its length; 0 when it is not whole. */
static size_t frame_bytes(const struct connection *connection, size_t at)
{
	size_t there = connection->filled - at;
	if (there < 4) return 0;
	size_t length = get_u32(connection->input + at);
	if (length == 0 || length > MAX_FRAME - 4) errx(FAILED, "an answer of %zu bytes", length);
	return there < 4 + length ? 0 : 4 + length;
}

/* Makes the request to sign by the first key that fits. */
static void make_request(struct connection *connection)
{
	const uint8_t list[] = { 0, 0, 0, 1, REQUEST_IDENTITIES };
	send_all(connection->fd, list, sizeof list);
	size_t length;
	while ((length = frame_bytes(connection, 0)) == 0) fill(connection);
	const uint8_t *at = connection->input + 4, *end = connection->input + length;
	if (*at++ != IDENTITIES_ANSWER || end - at < 4) errx(FAILED, "the agent does not list its keys");
	uint32_t keys = get_u32(at);
	at += 4;
	for (uint32_t i = 0; i < keys; i++) {
		size_t blob_bytes, comment_bytes;
		const uint8_t *blob = take_string(&at, end, &blob_bytes);
		take_string(&at, end, &comment_bytes);
		if (!begins_with_algorithm(blob, blob_bytes)) continue;
		put_u32(0);
		put_byte(SIGN_REQUEST);
		put_string(blob, blob_bytes);
		size_t data_at = request_bytes;
		put_u32(0);
		session_id_at = request_bytes + 4;
		put_string((const uint8_t[SESSION_ID_BYTES]){ 0 }, SESSION_ID_BYTES);
		put_byte(USERAUTH_REQUEST);
		put_text("somebody");
		put_text("ssh-connection");
		put_text("publickey");
		put_byte(true);
		put_text(ALGORITHM);
		put_string(blob, blob_bytes);
		set_u32(request + data_at, request_bytes - data_at - 4);
		put_u32(0);
		set_u32(request, request_bytes - 4);
		connection->filled = 0;
		return;
	}
	errx(FAILED, "the agent has no " ALGORITHM " key");
}

/* Sends requests until enough are under way. */
static void begin(struct connection *connection, size_t in_flight)
{
	while (connection->under_way < in_flight && begun < wanted) {
		/* Another session id each time; nobody verifies, so a counter beside randomness is enough. */
		memcpy(request + session_id_at, &begun, sizeof begun);
		begun++;
		connection->sent[(connection->oldest + connection->under_way++) % MAX_IN_FLIGHT] = now();
		send_all(connection->fd, request, request_bytes);
	}
}

/* Takes the answers that are there. */
static void take_answers(struct connection *connection)
{
	size_t at = 0, length;
	while ((length = frame_bytes(connection, at)) > 0) {
		const uint8_t *answer = connection->input + at + 4, *end = answer + length - 4;
		if (*answer++ != SIGN_RESPONSE) errx(FAILED, "answer %d in place of a signature", answer[-1]);
		size_t signature_bytes;
		const uint8_t *signature = take_string(&answer, end, &signature_bytes);
		if (!begins_with_algorithm(signature, signature_bytes)) errx(FAILED, "another kind of signature");
		if (connection->under_way == 0) errx(FAILED, "an answer that was not asked for");
		latencies[done++] = now() - connection->sent[connection->oldest];
		connection->oldest = (connection->oldest + 1) % MAX_IN_FLIGHT;
		connection->under_way--;
		at += length;
	}
	memmove(connection->input, connection->input + at, connection->filled - at);
	connection->filled -= at;
}

/* With one connection nothing else could be waited for, so the wait is in recv(2). */
static void run_one(struct connection *connection, size_t in_flight)
{
	while (done < wanted) {
		begin(connection, in_flight);
		fill(connection);
		take_answers(connection);
	}
}

static void run_many(struct connection *connections, size_t count, size_t in_flight)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0) err(FAILED, "epoll_create1");
	for (size_t i = 0; i < count; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = &connections[i] };
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i].fd, &event) < 0) err(FAILED, "epoll_ctl");
		begin(&connections[i], in_flight);
	}
	while (done < wanted) {
		struct epoll_event events[64];
		int ready = epoll_wait(epoll, events, 64, -1);
		if (ready < 0 && errno != EINTR) err(FAILED, "epoll_wait");
		for (int i = 0; i < ready; i++) {
			struct connection *connection = events[i].data.ptr;
			fill(connection);
			take_answers(connection);
			begin(connection, in_flight);
		}
	}
	close(epoll);
}

static int compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
	return left < right ? -1 : left > right;
}

static double percentile(size_t percent)
{
	size_t rank = (done * percent + 99) / 100;
	return (double)latencies[rank == 0 ? 0 : rank - 1] / 1000;
}

static size_t number(const char *text, size_t most)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);
	bool is_number = *text >= '0' && *text <= '9' && *end == 0;
	if (!is_number || value < 1 || value > most) errx(2, "%s: no number up to %zu", text, most);
	return value;
}

int main(int argc, char **argv)
{
	if (argc != 5) errx(2, "usage: agent_client SOCKET CONNECTIONS IN_FLIGHT SIGNATURES");
	size_t count = number(argv[2], MAX_CONNECTIONS), in_flight = number(argv[3], MAX_IN_FLIGHT);
	wanted = number(argv[4], 100000000);
	latencies = calloc(wanted, sizeof *latencies);
	struct connection *connections = calloc(count, sizeof *connections);
	if (latencies == NULL || connections == NULL) err(FAILED, "calloc");
	for (size_t i = 0; i < count; i++) connections[i].fd = connect_to(argv[1]);
	make_request(&connections[0]);
	if (getrandom(request + session_id_at, SESSION_ID_BYTES, 0) != SESSION_ID_BYTES) err(FAILED, "getrandom");
	uint64_t start = now();
	if (count == 1) run_one(connections, in_flight);
	else run_many(connections, count, in_flight);
	double seconds = (double)(now() - start) / 1e9;
	qsort(latencies, done, sizeof *latencies, compare);
	printf("%zu %.6f %.1f %.1f\n", done, seconds, percentile(50), percentile(99));
	return 0;
}
