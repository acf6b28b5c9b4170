/* What the engine needs of DPDK: headers for bindgen, and callable forms of inline functions. */
#ifndef TP_SHIM_H
#define TP_SHIM_H

#include <stdint.h>
#include <stddef.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

/* Macros that bindgen cannot evaluate, as constants that it can. */
static const uint64_t TP_RX_OFFLOAD_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t TP_RX_OFFLOAD_UDP_CKSUM = RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
static const uint64_t TP_RX_OFFLOAD_TCP_CKSUM = RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
static const uint64_t TP_RX_OFFLOAD_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t TP_RX_OFFLOAD_RSS_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH;
static const uint64_t TP_TX_OFFLOAD_MULTI_SEGS = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;

/* Flow types hashed over addresses only, and over addresses and ports. */
static const uint64_t TP_RSS_ADDRESSES = RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_IPV6
	| RTE_ETH_RSS_NONFRAG_IPV4_OTHER | RTE_ETH_RSS_NONFRAG_IPV6_OTHER
	| RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_FRAG_IPV6;
static const uint64_t TP_RSS_TCP = RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV6_TCP;
static const uint64_t TP_RSS_UDP = RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV6_UDP;

static const uint64_t TP_MBUF_RX_VLAN_STRIPPED = RTE_MBUF_F_RX_VLAN_STRIPPED;
static const uint64_t TP_MBUF_RX_VLAN = RTE_MBUF_F_RX_VLAN;
static const uint64_t TP_MBUF_RX_L4_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t TP_MBUF_RX_L4_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
static const uint64_t TP_MBUF_RX_L4_BAD = RTE_MBUF_F_RX_L4_CKSUM_BAD;
static const uint64_t TP_MBUF_RX_RSS_HASH = RTE_MBUF_F_RX_RSS_HASH;

static const uint32_t TP_MQ_RX_NONE = RTE_ETH_MQ_RX_NONE;
static const uint32_t TP_MQ_RX_RSS = RTE_ETH_MQ_RX_RSS;
static const uint32_t TP_RETA_GROUP = RTE_ETH_RETA_GROUP_SIZE;
static const uint32_t TP_MBUF_DATA_ROOM = RTE_MBUF_DEFAULT_BUF_SIZE;
static const uint32_t TP_MBUF_HEADROOM = RTE_PKTMBUF_HEADROOM;
static const uint32_t TP_XSTAT_NAME_SIZE = RTE_ETH_XSTATS_NAME_SIZE;
static const int32_t TP_SOCKET_ANY = SOCKET_ID_ANY;
static const uint32_t TP_LCORE_ANY = LCORE_ID_ANY;
static const uint32_t TP_LOG_NOTICE = RTE_LOG_NOTICE;

/* Inline functions of DPDK under names that can be linked. */
uint16_t tp_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **bufs, uint16_t n);
uint16_t tp_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **bufs, uint16_t n);
struct rte_mbuf *tp_mbuf_alloc(struct rte_mempool *pool);
void tp_mbuf_free(struct rte_mbuf *m);
void tp_mbuf_free_bulk(struct rte_mbuf **bufs, unsigned int n);
char *tp_mbuf_append(struct rte_mbuf *m, uint16_t len);
char *tp_mbuf_prepend(struct rte_mbuf *m, uint16_t len);
char *tp_mbuf_adj(struct rte_mbuf *m, uint16_t len);
int tp_mbuf_chain(struct rte_mbuf *head, struct rte_mbuf *tail);
int tp_mbuf_linearize(struct rte_mbuf *m);
struct rte_mbuf *tp_mbuf_copy(const struct rte_mbuf *m);
int tp_mbuf_vlan_insert(struct rte_mbuf **m);
int tp_errno(void);
unsigned int tp_lcore_id(void);

/* DPDK's own log goes to a bounded buffer in memory from here on, not to the terminal. */
int tp_log_capture(void);
/* Copies the newest bytes of that buffer, oldest first, and empties it; returns how many. */
size_t tp_log_take(char *out, size_t capacity);

/* Whether `bytes` of anonymous hugepages of `page_bytes` each can be mapped now: 0, or an errno. */
int tp_hugepages_probe(size_t bytes, size_t page_bytes);

/* Whether the calling process's network namespace has an interface of this name. */
int tp_interface_exists(const char *name);

#endif
