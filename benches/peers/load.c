/* Load on the real kernel, for bench-peers: what benches/src/programs.rs does, in batches.
 *
 *   load udp  ADDRESS PORT SECONDS   sends 64 B datagrams on a connected socket
 *   load ping ADDRESS 0    SECONDS   sends 64 B ICMP echo requests; nobody reads the answers
 *   load sink ADDRESS PORT SECONDS   receives datagrams, until none comes for half a second
 *   load connect ADDRESS PORT SECONDS   connects and closes
 *   load bulk    ADDRESS PORT SECONDS   sends on one connection and waits for its end
 *   load serve   ADDRESS PORT SECONDS   takes connections and reads each to its end, until none comes for half a second
 *
 * Prints what it sent or received and its CPU time, softirq work in its context included.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define PAYLOAD 64
#define ICMP_FILTER 1

static char buffers[BATCH][2048];
static char chunk[64 << 10];
static struct iovec vectors[BATCH];
static struct mmsghdr messages[BATCH];

static double seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	/* A machine may have one CPU only. */
	(void)sched_setaffinity(0, sizeof(set), &set);
}

static unsigned long send_all(int fd, double duration)
{
	double start = seconds(CLOCK_MONOTONIC);
	unsigned long sent = 0;

	while (seconds(CLOCK_MONOTONIC) - start < duration) {
		int n = sendmmsg(fd, messages, BATCH, 0);

		if (n > 0)
			sent += n;
	}
	return sent;
}

static unsigned long receive_all(int fd, double duration)
{
	double start = seconds(CLOCK_MONOTONIC), last = start;
	unsigned long received = 0;
	struct pollfd p = { fd, POLLIN, 0 };

	for (;;) {
		double now = seconds(CLOCK_MONOTONIC);
		int n;

		if (now - start > duration + 2 || (received && now - last > 0.5))
			return received;
		if (poll(&p, 1, 50) <= 0)
			continue;
		n = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
		if (n > 0) {
			received += n;
			last = seconds(CLOCK_MONOTONIC);
		}
	}
}

static int stream(const struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)))
		die("connect");
	return fd;
}

static unsigned long connect_all(const struct sockaddr_in *to, double duration)
{
	double start = seconds(CLOCK_MONOTONIC);
	unsigned long made = 0;

	for (; seconds(CLOCK_MONOTONIC) - start < duration; made++)
		close(stream(to));
	return made;
}

static void bulk(const struct sockaddr_in *to, double duration)
{
	double start = seconds(CLOCK_MONOTONIC);
	int fd = stream(to);

	while (seconds(CLOCK_MONOTONIC) - start < duration)
		if (write(fd, chunk, sizeof(chunk)) < 0)
			die("write");
	shutdown(fd, SHUT_WR);
	while (read(fd, chunk, sizeof(chunk)) > 0)
		;
	close(fd);
}

static unsigned long serve(const struct sockaddr_in *at, double duration)
{
	double start = seconds(CLOCK_MONOTONIC);
	unsigned long served = 0;
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	struct pollfd p = { fd, POLLIN, 0 };

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (const struct sockaddr *)at, sizeof(*at)) || listen(fd, 4096))
		die("listen");
	puts("ready");
	fflush(stdout);
	for (;;) {
		int peer;

		if (poll(&p, 1, 500) <= 0) {
			if (served || seconds(CLOCK_MONOTONIC) - start > duration + 2)
				return served;
			continue;
		}
		peer = accept(fd, NULL, NULL);
		while (read(peer, chunk, sizeof(chunk)) > 0)
			;
		close(peer);
		served++;
	}
}

/* An echo request with its checksum (RFC 1071). */
static void echo_request(unsigned char *m)
{
	unsigned int sum = 0;

	memset(m, 0, PAYLOAD);
	m[0] = 8;
	m[4] = 0x12, m[5] = 0x34, m[7] = 1;
	for (int i = 0; i < PAYLOAD; i += 2)
		sum += m[i] << 8 | m[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16)) & 0xffff;
	m[2] = sum >> 8, m[3] = sum;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	int fd, bytes = 64 << 20;
	unsigned long count;
	double duration;

	if (argc != 5 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1)
		return 2;
	to.sin_port = htons(atoi(argv[3]));
	duration = atof(argv[4]);
	for (int i = 0; i < BATCH; i++) {
		vectors[i].iov_base = buffers[i];
		vectors[i].iov_len = PAYLOAD;
		messages[i].msg_hdr.msg_iov = &vectors[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	if (!strcmp(argv[1], "sink")) {
		pin(1);
		fd = socket(AF_INET, SOCK_DGRAM, 0);
		if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)))
			die("SO_RCVBUFFORCE");
		if (bind(fd, (struct sockaddr *)&to, sizeof(to)))
			die("bind");
		for (int i = 0; i < BATCH; i++)
			vectors[i].iov_len = sizeof(buffers[i]);
		puts("ready");
		fflush(stdout);
		count = receive_all(fd, duration);
	} else if (!strcmp(argv[1], "serve")) {
		pin(1);
		count = serve(&to, duration);
	} else if (!strcmp(argv[1], "connect")) {
		pin(0);
		count = connect_all(&to, duration);
	} else if (!strcmp(argv[1], "bulk")) {
		pin(0);
		bulk(&to, duration);
		count = 0;
	} else {
		int ping = !strcmp(argv[1], "ping");
		unsigned int nothing = ~0u;

		pin(0);
		fd = ping ? socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) : socket(AF_INET, SOCK_DGRAM, 0);
		if (ping && setsockopt(fd, SOL_RAW, ICMP_FILTER, &nothing, sizeof(nothing)))
			die("ICMP_FILTER");
		for (int i = 0; ping && i < BATCH; i++)
			echo_request((unsigned char *)buffers[i]);
		if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
			die("connect");
		count = send_all(fd, duration);
	}
	printf("%lu %.6f\n", count, seconds(CLOCK_PROCESS_CPUTIME_ID));
	return 0;
}
