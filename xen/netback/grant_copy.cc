#include "xen/netback/grant_copy.hh"

namespace xen::netback {

int CopyBatch::run(const Copier& copier) {
    failed_ = 0;
    if (count_ == 0) return 0;
    failed_ = copier.run(copier.context, segments_.data(), count_);
    runs_ += 1;
    segments_run_ += count_;
    return -failed_;
}

}  // namespace xen::netback
