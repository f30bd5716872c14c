// A turn of the loop allocates nothing, takes no lock and makes no system call: 100,000 requests,
// with faults among them, go through a worker on ring ports, and this program's own malloc, locks
// and system calls are counted meanwhile.
//
// System calls are counted by the kernel: a filter traps every one but the few that gtest has no
// part in here (returning from the trap, writing the result, leaving), and the trap's handler
// counts. Limit: DPDK's own allocator (rte_malloc) takes a spin lock and no memory of libc; it
// would show in its statistics, which are compared too.
#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <rte_malloc.h>
#include <rte_ring.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/appliance/environment.hh"

namespace {

std::atomic<bool> counting{false};
std::atomic<unsigned long> allocations{0};
std::atomic<unsigned long> locks{0};
std::atomic<unsigned long> system_calls{0};

void count(std::atomic<unsigned long>& what) {
    if (counting.load(std::memory_order_relaxed)) what.fetch_add(1, std::memory_order_relaxed);
}
template <class Function>
Function next(const char* name) {
    return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

// glibc's own names for what we stand in front of.
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);

void* malloc(std::size_t size) {
    count(allocations);
    return __libc_malloc(size);
}
void* calloc(std::size_t n, std::size_t size) {
    count(allocations);
    return __libc_calloc(n, size);
}
void* realloc(void* old, std::size_t size) {
    count(allocations);
    return __libc_realloc(old, size);
}
void* memalign(std::size_t alignment, std::size_t size) {
    count(allocations);
    return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
    count(allocations);
    return __libc_memalign(alignment, size);
}
void free(void* memory) {
    count(allocations);
    __libc_free(memory);
}
int pthread_mutex_lock(pthread_mutex_t* mutex) {
    static const auto real = next<int (*)(pthread_mutex_t*)>("pthread_mutex_lock");
    count(locks);
    return real(mutex);
}
int pthread_rwlock_rdlock(pthread_rwlock_t* lock) {
    static const auto real = next<int (*)(pthread_rwlock_t*)>("pthread_rwlock_rdlock");
    count(locks);
    return real(lock);
}
int pthread_rwlock_wrlock(pthread_rwlock_t* lock) {
    static const auto real = next<int (*)(pthread_rwlock_t*)>("pthread_rwlock_wrlock");
    count(locks);
    return real(lock);
}
}

namespace {

using namespace appliance_test;

void trapped(int, siginfo_t*, void*) { count(system_calls); }

// Every system call traps, but for those the test needs to end itself. There is no way back, so
// this is called in a child.
bool trap_system_calls() {
    struct sigaction action {};
    action.sa_sigaction = trapped;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    if (sigaction(SIGSYS, &action, nullptr) != 0) return false;
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

constexpr unsigned requests_count = 100'000;
constexpr unsigned burst = 32;
const Endpoint client{mac("02:cc:00:00:00:01"), address("198.51.100.9"), 4000};

// Frames made beforehand; feeding the worker must not allocate either.
struct Feed {
    std::array<rte_mbuf*, burst> packets{};
    void fill(const Octets& frame, unsigned first, unsigned count) {
        for (unsigned i = 0; i < count; ++i) {
            packets[i] = rte_pktmbuf_alloc(pool().packets);
            auto* to = rte_pktmbuf_append(packets[i], static_cast<std::uint16_t>(frame.size()));
            std::memcpy(to, frame.data(), frame.size());
            // The request's number, and out of the sum again what went into it.
            wire::store_be16(reinterpret_cast<std::byte*>(to) + 42,
                             static_cast<std::uint16_t>(first + i));
            wire::store_be16(reinterpret_cast<std::byte*>(to) + 44,
                             static_cast<std::uint16_t>(~(first + i)));
        }
    }
};

void drain(rte_ring* ring) {
    void* packet = nullptr;
    while (rte_ring_sc_dequeue(ring, &packet) == 0)
        rte_pktmbuf_free(static_cast<rte_mbuf*>(packet));
}

// 0: all as it should be.
int run_counted(Appliance& appliance, const proxy::RingEnd& clients,
                const std::array<proxy::RingEnd, 3>& replicas, std::array<Octets, 3>& replies,
                const Octets& request) {
    Feed feed;
    for (unsigned done = 0; done < requests_count; done += burst) {
        feed.fill(request, done, burst);
        for (rte_mbuf* packet : feed.packets) rte_ring_sp_enqueue(clients.to_port, packet);
        appliance.worker().run_once(1'000'000 + done * 10);
        for (unsigned slot = 0; slot < 3; ++slot) {
            drain(replicas[slot].from_port);
            // The third lies, sometimes is silent, sometimes says it twice.
            if (slot == 2 && done % 5 == 0) continue;
            for (unsigned times = slot == 2 && done % 7 == 0 ? 2 : 1; times > 0; --times) {
                feed.fill(replies[slot], done, burst);
                for (rte_mbuf* packet : feed.packets) {
                    rte_ring_sp_enqueue(replicas[slot].to_port, packet);
                }
            }
        }
        // A turn takes one burst of a port.
        appliance.worker().run_once(1'000'001 + done * 10);
        appliance.worker().run_once(1'000'002 + done * 10);
        drain(clients.from_port);
    }
    return appliance.group().agreed.get() + 3000 > requests_count ? 0 : 3;
}

TEST(NoAllocation, NorLockNorSystemCallPerPacket) {
    Shape shape;
    shape.deadline_us = 20'000;
    shape.inflight_max = 1'000'000;
    shape.stranger_inflight_max = 1'000'000;
    shape.records = 4096;
    Appliance appliance(shape);
    ASSERT_TRUE(appliance.step());
    // Two fields of which one is the other's complement: numbers without a change of the sum.
    const Octets request = appliance.request(client, from_hex("0000ffff 77686174"));
    std::array<Octets, 3> replies{appliance.reply(client, from_hex("0000ffff 74686174")),
                                  appliance.reply(client, from_hex("0000ffff 74686174")),
                                  appliance.reply(client, from_hex("0000ffff 6c696573"))};
    const proxy::RingEnd clients = proxy::ring_far_end("t0");
    const std::array<proxy::RingEnd, 3> replicas{
        proxy::ring_far_end("t2"), proxy::ring_far_end("t4"), proxy::ring_far_end("t6")};
    rte_malloc_socket_stats before{};
    rte_malloc_get_socket_stats(0, &before);

    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        if (!trap_system_calls()) _exit(2);
        counting = true;
        // The counters themselves count: one of each.
        int verdict = 0;
        void* volatile some = std::malloc(10);
        std::free(some);
        static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
        pthread_mutex_lock(&mutex);
        syscall(SYS_getppid);
        if (allocations != 2 || locks != 1 || system_calls != 1) _exit(4);
        verdict = run_counted(appliance, clients, replicas, replies, request);
        if (allocations != 2) verdict |= 16;
        if (locks != 1) verdict |= 32;
        if (system_calls != 1) verdict |= 64;
        // DPDK's memory is shared with the parent: nothing of it may stay with us.
        appliance.finish();
        _exit(verdict);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
    const int verdict = WEXITSTATUS(status);
    EXPECT_NE(verdict, 2) << "no filter for system calls";
    EXPECT_NE(verdict, 3) << "requests were not answered";
    EXPECT_NE(verdict, 4) << "the counting does not count";
    EXPECT_EQ(verdict & 16, 0) << "allocates";
    EXPECT_EQ(verdict & 32, 0) << "locks";
    EXPECT_EQ(verdict & 64, 0) << "makes system calls";

    // Once more, here: DPDK's memory.
    EXPECT_EQ(run_counted(appliance, clients, replicas, replies, request), 0);
    rte_malloc_socket_stats after{};
    rte_malloc_get_socket_stats(0, &after);
    EXPECT_EQ(before.alloc_count, after.alloc_count);
    EXPECT_TRUE(appliance.counters().balanced());
    EXPECT_TRUE(appliance.finish());
}

}  // namespace
