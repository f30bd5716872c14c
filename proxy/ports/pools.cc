#include "proxy/ports/pools.hh"

#include <algorithm>

#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

namespace proxy {
namespace {

std::uint32_t element_bytes(std::uint16_t private_bytes, std::uint16_t data_bytes) {
    return static_cast<std::uint32_t>(sizeof(rte_mbuf)) + private_bytes + RTE_PKTMBUF_HEADROOM +
           data_bytes;
}

std::size_t bytes_of(std::uint32_t count, std::uint16_t private_bytes, std::uint16_t data_bytes) {
    rte_mempool_objsz size{};
    const std::size_t each =
        rte_mempool_calc_obj_size(element_bytes(private_bytes, data_bytes), 0, &size);
    return count * (each + sizeof(void*) * 2);  // and its place in the ring, a power of two
}

constexpr std::uint32_t page_bytes = 4096;
// No device reads or writes it by physical address: those of a PV Dom0 are not to be had.
constexpr unsigned page_pool_flags = RTE_MEMPOOL_F_NO_SPREAD | RTE_MEMPOOL_F_NO_IOVA_CONTIG;

// One object a page: its header, the mbuf, and room. Memory of its own begins at a page, and
// objects of a page's size follow one another.
rte_mempool* make_page_pool(const PoolSizes& sizes, unsigned cache) {
    rte_mempool_objsz size{};
    rte_mempool_calc_obj_size(page_bytes, page_pool_flags, &size);
    const std::uint32_t element = page_bytes - size.header_size - size.trailer_size;
    rte_mempool* pool =
        rte_mempool_create_empty("packets", sizes.packets, element, cache,
                                 sizeof(rte_pktmbuf_pool_private), SOCKET_ID_ANY, page_pool_flags);
    if (pool == nullptr) return nullptr;
    rte_pktmbuf_pool_private about{};
    about.mbuf_priv_size = sizes.private_bytes;
    about.mbuf_data_room_size =
        static_cast<std::uint16_t>(element - sizeof(rte_mbuf) - sizes.private_bytes);
    rte_pktmbuf_pool_init(pool, &about);
    if (rte_mempool_set_ops_byname(pool, "ring_mp_mc", nullptr) != 0 ||
        rte_mempool_populate_anon(pool) <= 0) {
        rte_mempool_free(pool);
        return nullptr;
    }
    rte_mempool_obj_iter(pool, rte_pktmbuf_init, nullptr);
    return pool;
}

}  // namespace

std::uint32_t Pools::size() const { return packets->size + jumbo->size; }

std::uint32_t Pools::in_use() const {
    return rte_mempool_in_use_count(packets) + rte_mempool_in_use_count(jumbo);
}

std::size_t pool_memory_bytes(const PoolSizes& sizes) {
    const std::size_t packets =
        sizes.within_pages ? std::size_t{sizes.packets} * page_bytes
                           : bytes_of(sizes.packets, sizes.private_bytes, packet_bytes_max);
    return packets + bytes_of(sizes.jumbo, sizes.private_bytes, jumbo_bytes_max);
}

tl::expected<Pools, std::string> make_pools(const PoolSizes& sizes) {
    const unsigned cache =
        std::min({sizes.cache_per_worker, static_cast<unsigned>(RTE_MEMPOOL_CACHE_MAX_SIZE),
                  static_cast<unsigned>(sizes.packets / 2)});
    Pools pools;
    pools.packets =
        sizes.within_pages
            ? make_page_pool(sizes, cache)
            : rte_pktmbuf_pool_create("packets", sizes.packets, cache, sizes.private_bytes,
                                      RTE_PKTMBUF_HEADROOM + packet_bytes_max, SOCKET_ID_ANY);
    if (pools.packets != nullptr) {
        pools.jumbo =
            rte_pktmbuf_pool_create("jumbo", sizes.jumbo, 0, sizes.private_bytes,
                                    RTE_PKTMBUF_HEADROOM + jumbo_bytes_max, SOCKET_ID_ANY);
    }
    if (pools.packets != nullptr && pools.jumbo != nullptr) return pools;
    const std::string cause = rte_strerror(rte_errno);
    free_pools(pools);
    const std::size_t need_mb = (pool_memory_bytes(sizes) >> 20) + 16;
    return tl::unexpected("no memory for " + std::to_string(sizes.packets) + " packets (" + cause +
                          "): set eal.memory_mb to " + std::to_string(need_mb) + " or more");
}

void free_pools(Pools& pools) {
    rte_mempool_free(pools.packets);
    rte_mempool_free(pools.jumbo);
    pools = Pools{};
}

}  // namespace proxy
