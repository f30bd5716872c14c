#include "proxy/ports/xdp_pool.hh"

#include <algorithm>
#include <optional>
#include <vector>

#include <rte_mbuf.h>
#include <rte_mempool.h>

namespace proxy {
namespace {

constexpr unsigned packets_per_queue = 4096;  // half of them the driver's

struct XdpPool {
    std::string device;
    rte_mempool* pool = nullptr;
    std::optional<unsigned> kept_by_driver;  // once the port runs
    bool retired = false;
};

// Of the one privileged thread.
std::vector<XdpPool>& pools() {
    static std::vector<XdpPool> instance;
    return instance;
}

XdpPool* find(const std::string& device) {
    const auto at = std::find_if(pools().begin(), pools().end(),
                                 [&](const XdpPool& one) { return one.device == device; });
    return at == pools().end() ? nullptr : &*at;
}

void free_finished() {
    std::erase_if(pools(), [](const XdpPool& one) {
        if (!one.retired || rte_mempool_in_use_count(one.pool) != one.kept_by_driver) return false;
        rte_mempool_free(one.pool);
        return true;
    });
}

}  // namespace

rte_mempool* make_xdp_pool(const std::string& device, const rte_mempool* like,
                           std::uint16_t queues) {
    free_finished();
    // rte_pktmbuf_data_room_size() and _priv_size() ask for a pool they do not change.
    auto* shape = const_cast<rte_mempool*>(like);
    rte_mempool* pool = rte_pktmbuf_pool_create(device.c_str(), packets_per_queue * queues - 1,
                                                like->cache_size, rte_pktmbuf_priv_size(shape),
                                                rte_pktmbuf_data_room_size(shape), SOCKET_ID_ANY);
    if (pool != nullptr) pools().push_back({device, pool, {}, false});
    return pool;
}

void note_xdp_pool_filled(const std::string& device) {
    if (XdpPool* one = find(device)) one->kept_by_driver = rte_mempool_in_use_count(one->pool);
}

void retire_xdp_pool(const std::string& device) {
    if (XdpPool* one = find(device)) {
        one->retired = true;
        if (!one->kept_by_driver) one->kept_by_driver = rte_mempool_in_use_count(one->pool);
    }
    free_finished();
}

}  // namespace proxy
