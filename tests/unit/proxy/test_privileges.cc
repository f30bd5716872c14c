// A thread that dropped its privileges still does a worker's work, and nothing else.
#include <atomic>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "proxy/ports/privileges.hh"
#include "proxy/ports/sleeper.hh"
#include "tests/unit/proxy/veth_fixture.hh"

namespace {

using namespace port_test;
using Kind = config::PortSpec::Kind;

// A line of this thread's status, from outside of it.
std::string status_of(pid_t thread, const std::string& key) {
    std::ifstream status("/proc/self/task/" + std::to_string(thread) + "/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with(key + ":")) return line.substr(line.find_last_of("\t ") + 1);
    }
    return {};
}

struct Worked {
    std::string dropped;
    bool sent = false;
    bool received = false;
    bool slept = false;
    bool allocated = false;
    int open_error = 0;
    int socket_error = 0;
    int exec_error = 0;
    int executable_error = 0;
    int process_error = 0;
    int elsewhere_error = 0;
    std::string capabilities, bounding, no_new_privileges, filtering;
};

template <class Call>
int error_of(Call call) {
    errno = 0;
    return call() < 0 ? errno : 0;
}

void work(const proxy::OpenedPort& port, const Peer& peer, proxy::Sleeper& sleeper, Worked& done) {
    rte_mbuf* one = packet(frame(60, 5));
    done.sent = port.data.tx_burst(0, &one, 1) == 1;
    peer.send(frame(60, 6));  // without a destination: allowed
    if (rte_mbuf* got = receive(port)) {
        done.received = true;
        rte_pktmbuf_free(got);
    }
    sleeper.arm();
    done.slept = sleeper.sleep(1000) == proxy::Woke::timeout;  // pause: is it allowed?
    std::vector<char> big(32 << 20, 'x');
    done.allocated = big.back() == 'x';
}

void try_forbidden(const proxy::OpenedPort& port, Worked& done) {
    done.open_error = error_of([] { return open("/etc/hostname", O_RDONLY | O_CLOEXEC); });
    done.socket_error = error_of([] { return socket(AF_INET, SOCK_DGRAM, 0); });
    char program[] = "/bin/true";
    char* const argv[] = {program, nullptr};
    done.exec_error = error_of([&] { return execve(program, argv, nullptr); });
    done.executable_error = error_of([] {
        void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return page == MAP_FAILED ? -1 : 0;
    });
    done.process_error = error_of([] { return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); });
    const int socket_fd = port.wake_descriptors.front();
    sockaddr_ll loopback{};
    loopback.sll_family = AF_PACKET;
    loopback.sll_ifindex = 1;
    done.elsewhere_error = error_of([&] {
        return sendto(socket_fd, "x", 1, 0, reinterpret_cast<sockaddr*>(&loopback),
                      sizeof loopback);
    });
}

struct Job {
    const proxy::OpenedPort& port;
    const Peer& peer;
    proxy::Sleeper& sleeper;
    Worked done{};
    std::atomic<pid_t> ready{0};
};

// Not std::thread: its end is a virtual call, which UBSan checks by calls that are forbidden then.
void* worker(void* argument) {
    Job& job = *static_cast<Job*>(argument);
    const auto thread = static_cast<pid_t>(syscall(SYS_gettid));
    if (const auto dropped = proxy::drop_thread_privileges(); !dropped) {
        job.done.dropped = dropped.error();
    }
    work(job.port, job.peer, job.sleeper, job.done);
    if (job.done.dropped.empty()) try_forbidden(job.port, job.done);
    job.sleeper.arm();
    job.ready.store(thread);
    job.sleeper.sleep(5'000'000);  // pause: until the test has looked at us
    return nullptr;
}

TEST_F(Veth, AWorkerWithoutPrivilegesWorks) {
    auto port = proxy::open_port(spec(Kind::af_packet, "qa"), 1, Environment::pool());
    ASSERT_TRUE(port) << port.error();
    auto sleeper = proxy::Sleeper::make();
    ASSERT_TRUE(sleeper) << sleeper.error();
    const Peer peer("qb");
    Job job{*port, peer, *sleeper};
    Worked& done = job.done;
    pthread_t running{};
    ASSERT_EQ(pthread_create(&running, nullptr, worker, &job), 0);
    EXPECT_TRUE(eventually([&] { return job.ready.load() != 0; }));
    const pid_t thread = job.ready.load();
    done.capabilities = status_of(thread, "CapEff") + status_of(thread, "CapPrm");
    done.bounding = status_of(thread, "CapBnd");
    done.no_new_privileges = status_of(thread, "NoNewPrivs");
    done.filtering = status_of(thread, "Seccomp");
    sleeper->wake();
    pthread_join(running, nullptr);

    if (!done.dropped.empty()) GTEST_SKIP() << done.dropped;
    EXPECT_TRUE(done.sent);
    EXPECT_TRUE(done.received);
    EXPECT_TRUE(done.slept);
    EXPECT_TRUE(done.allocated);
    EXPECT_EQ(peer.receive(), frame(60, 5));
    EXPECT_EQ(done.open_error, EPERM);
    EXPECT_EQ(done.socket_error, EPERM);
    EXPECT_EQ(done.exec_error, EPERM);
    EXPECT_EQ(done.executable_error, EPERM);
    EXPECT_EQ(done.process_error, EPERM);
    EXPECT_EQ(done.elsewhere_error, EPERM);
    EXPECT_EQ(proxy::denied_calls(), 6u);
    EXPECT_EQ(proxy::last_denied_call(), SYS_sendto);
    EXPECT_EQ(done.capabilities, "00000000000000000000000000000000");
    EXPECT_EQ(done.bounding, "0000000000000000");
    EXPECT_EQ(done.no_new_privileges, "1");
    EXPECT_EQ(done.filtering, "2");
    // The rest of the process is as it was.
    EXPECT_EQ(error_of([] {
                  const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
                  return fd < 0 ? -1 : close(fd);
              }),
              0);
    proxy::close_port(*port);
}

}  // namespace
