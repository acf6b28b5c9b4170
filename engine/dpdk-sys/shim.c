/* Callable forms of DPDK's inline functions, and its log in memory. */
#include "shim.h"

#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

uint16_t tp_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **bufs, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, bufs, n);
}

uint16_t tp_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **bufs, uint16_t n)
{
	return rte_eth_tx_burst(port, queue, bufs, n);
}

struct rte_mbuf *tp_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

void tp_mbuf_free(struct rte_mbuf *m)
{
	rte_pktmbuf_free(m);
}

void tp_mbuf_free_bulk(struct rte_mbuf **bufs, unsigned int n)
{
	rte_pktmbuf_free_bulk(bufs, n);
}

char *tp_mbuf_append(struct rte_mbuf *m, uint16_t len)
{
	return rte_pktmbuf_append(m, len);
}

char *tp_mbuf_prepend(struct rte_mbuf *m, uint16_t len)
{
	return rte_pktmbuf_prepend(m, len);
}

char *tp_mbuf_adj(struct rte_mbuf *m, uint16_t len)
{
	return rte_pktmbuf_adj(m, len);
}

int tp_mbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail)
{
	return rte_pktmbuf_chain(head, tail);
}

int tp_mbuf_linearize(struct rte_mbuf *m)
{
	return rte_pktmbuf_linearize(m);
}

struct rte_mbuf *tp_mbuf_copy(const struct rte_mbuf *m)
{
	return rte_pktmbuf_copy(m, m->pool, 0, UINT32_MAX);
}

int tp_mbuf_vlan_insert(struct rte_mbuf **m)
{
	return rte_vlan_insert(m);
}

int tp_errno(void)
{
	return rte_errno;
}

unsigned int tp_lcore_id(void)
{
	return rte_lcore_id();
}

#define LOG_KEPT 4096

static char log_kept[LOG_KEPT];
static size_t log_written; /* all bytes ever written since the last take */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

static ssize_t log_write(void *cookie, const char *bytes, size_t n)
{
	(void)cookie;
	pthread_mutex_lock(&log_lock);
	for (size_t i = 0; i < n; i++)
		log_kept[log_written++ % LOG_KEPT] = bytes[i];
	pthread_mutex_unlock(&log_lock);
	return (ssize_t)n;
}

int tp_log_capture(void)
{
	cookie_io_functions_t io = { .write = log_write };
	FILE *f = fopencookie(NULL, "w", io);

	if (f == NULL)
		return -1;
	setvbuf(f, NULL, _IONBF, 0);
	return rte_openlog_stream(f);
}

size_t tp_log_take(char *out, size_t capacity)
{
	size_t n, start;

	pthread_mutex_lock(&log_lock);
	n = log_written < LOG_KEPT ? log_written : LOG_KEPT;
	if (n > capacity)
		n = capacity;
	start = log_written - n;
	for (size_t i = 0; i < n; i++)
		out[i] = log_kept[(start + i) % LOG_KEPT];
	log_written = 0;
	pthread_mutex_unlock(&log_lock);
	return n;
}

int tp_hugepages_probe(size_t bytes, size_t page_bytes)
{
	unsigned int shift = (unsigned int)__builtin_ctzl(page_bytes);
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (int)(shift << MAP_HUGE_SHIFT);
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);

	if (p == MAP_FAILED)
		return errno;
	munmap(p, bytes);
	return 0;
}

int tp_interface_exists(const char *name)
{
	return if_nametoindex(name) != 0;
}
