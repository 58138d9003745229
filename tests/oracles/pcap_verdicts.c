/*
 * What libpcap thinks of filters: the oracle of tests/tests/filter_libpcap.rs.
 *
 * Reads commands, a line each:
 *
 *     L LINKTYPE      the link type of what follows, as in a capture file; forgets the packets
 *     P LENGTH HEX    a packet and its length on the wire
 *     F EXPRESSION    a filter
 *
 * Writes a line for each filter: `ok VERDICTS VERDICTS`, a digit for each packet, first of the optimised program and
 * then of the other one; or `error MESSAGE`.
 */
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SNAPLEN 262144
#define MAX_PACKETS 4096

static struct {
	struct pcap_pkthdr header;
	unsigned char *bytes;
} packets[MAX_PACKETS];
static int packet_count;

/* An empty capture file: a filter means to it what it means to `tcpdump -r`. */
static pcap_t *open_capture(unsigned int linktype)
{
	struct pcap_file_header header = {
		.magic = 0xa1b2c3d4, .version_major = 2, .version_minor = 4, .snaplen = SNAPLEN, .linktype = linktype,
	};
	char error[PCAP_ERRBUF_SIZE];
	FILE *file = tmpfile();

	if (file == NULL || fwrite(&header, sizeof(header), 1, file) != 1)
		exit(2);
	rewind(file);
	pcap_t *pcap = pcap_fopen_offline(file, error);
	if (pcap == NULL)
		exit(2);
	return pcap;
}

static void add_packet(const char *line)
{
	char *hex;
	unsigned long wire_len = strtoul(line, &hex, 10);
	size_t i, len;

	while (*hex == ' ')
		hex++;
	len = strlen(hex) / 2;
	if (packet_count == MAX_PACKETS)
		exit(2);
	unsigned char *bytes = malloc(len + 1);
	if (bytes == NULL)
		exit(2);
	for (i = 0; i < len; i++) {
		unsigned int byte;
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			exit(2);
		bytes[i] = (unsigned char)byte;
	}
	packets[packet_count].bytes = bytes;
	packets[packet_count].header.caplen = (bpf_u_int32)len;
	packets[packet_count].header.len = (bpf_u_int32)wire_len;
	packet_count++;
}

static void print_verdicts(const struct bpf_program *program)
{
	putchar(' ');
	for (int i = 0; i < packet_count; i++)
		putchar(pcap_offline_filter(program, &packets[i].header, packets[i].bytes) ? '1' : '0');
}

static void judge(pcap_t *pcap, const char *expression)
{
	struct bpf_program optimised, plain;

	if (pcap_compile(pcap, &optimised, expression, 1, PCAP_NETMASK_UNKNOWN) < 0) {
		printf("error %s\n", pcap_geterr(pcap));
		return;
	}
	if (pcap_compile(pcap, &plain, expression, 0, PCAP_NETMASK_UNKNOWN) < 0)
		exit(2);
	printf("ok");
	print_verdicts(&optimised);
	print_verdicts(&plain);
	putchar('\n');
	pcap_freecode(&optimised);
	pcap_freecode(&plain);
}

int main(void)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t len;
	pcap_t *pcap = NULL;

	while ((len = getline(&line, &size, stdin)) > 0) {
		if (line[len - 1] == '\n')
			line[--len] = '\0';
		const char *rest = len > 2 ? line + 2 : "";
		switch (line[0]) {
		case 'L':
			if (pcap != NULL)
				pcap_close(pcap);
			pcap = open_capture(strtoul(rest, NULL, 10));
			while (packet_count > 0)
				free(packets[--packet_count].bytes);
			break;
		case 'P':
			add_packet(rest);
			break;
		case 'F':
			judge(pcap, rest);
			break;
		default:
			return 2;
		}
	}
	return 0;
}
