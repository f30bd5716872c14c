// What only libxl can do: build, destroy and dump a domain. Its calls block for seconds and it owns
// SIGCHLD, so this runs in a process of its own for each action (helper.hh), and nowhere else.
#pragma once

#include <cstdint>
#include <string>

#include <tl/expected.hpp>

#include "xen/domain/plan.hh"
#include "xen/domain_id.hh"

namespace xen::domain::toolstack {

// Verifies the images, builds the domain and leaves it paused. libxl says more on stderr.
tl::expected<DomainId, std::string> build(const Plan& plan);
// Only a domain with this UUID; one that is gone is no error.
tl::expected<void, std::string> destroy(DomainId domain, const Uuid& uuid);
// Into a file that is not there yet, 0600, of at most `bytes_max`; removed again on an error.
tl::expected<void, std::string> dump(DomainId domain, const Uuid& uuid, const std::string& file,
                                     std::uint64_t bytes_max);

}  // namespace xen::domain::toolstack
