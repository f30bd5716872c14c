#include "tools/replay/survey.hh"

#include <algorithm>

namespace replay {
namespace {

// One way of choosing, and what it finds.
struct Look {
    Look(const config::Config& config, const Wanted& wanted_)
        : wanted(wanted_), selector(config, wanted_) {}

    void at(const tools::CapturedFrame& captured) {
        if (!selector.select(captured, tally)) return;
        first_ns = std::min(first_ns, captured.time_ns);
        last_ns = std::max(last_ns, captured.time_ns);
    }

    Wanted wanted;
    Selector selector;
    Tally tally;
    std::uint64_t first_ns = UINT64_MAX;
    std::uint64_t last_ns = 0;
};

std::string nothing_text(const std::filesystem::path& capture, const config::Config& config,
                         const Tally& by_port, std::uint64_t records) {
    if (records == 0) return capture.string() + ": there are no packets in it";
    std::string services;
    for (const config::Service& service : config.services) {
        if (!services.empty()) services += ", ";
        services += service.name + " (UDP port " + std::to_string(service.port) + ")";
    }
    std::string text = capture.string() + ": no requests to " + services + " among " +
                       std::to_string(records) + " packets: " + skips_text(by_port);
    if (by_port.of(Skip::other_address) != 0 && config.services.size() > 1) {
        text += "; several services have that port: say which with --service NAME";
    } else if (by_port.of(Skip::other_port) != 0) {
        text += "; where the capture has another port for a service, say --service NAME --port N";
    }
    return text;
}

}  // namespace

bool can_be_read_again(const std::filesystem::path& capture) {
    std::error_code error;
    return capture != "-" && std::filesystem::is_regular_file(capture, error);
}

tl::expected<Survey, std::string> survey(const std::filesystem::path& capture,
                                         const config::Config& config, const Wanted& wanted) {
    Survey found;
    found.wanted = wanted;
    std::error_code error;
    if (!can_be_read_again(capture) &&
        (capture == "-" || std::filesystem::is_fifo(capture, error))) {
        found.complete = false;
        return found;
    }
    auto reader = tools::CaptureReader::open(capture);
    if (!reader) return tl::unexpected(reader.error());
    Wanted any_address = wanted;
    any_address.by_port = true;
    Look by_address(config, wanted);
    Look by_port(config, any_address);
    std::uint64_t records = 0;
    while (const auto captured = reader->next()) {
        by_address.at(*captured);
        by_port.at(*captured);
        records = captured->number;
    }
    Look& chosen = by_address.tally.taken_total() != 0 ? by_address : by_port;
    chosen.tally.skip(Skip::unreadable, reader->skipped());
    if (chosen.tally.taken_total() == 0) {
        return tl::unexpected(reader->complaint().empty()
                                  ? nothing_text(capture, config, chosen.tally, records)
                                  : reader->complaint());
    }
    found.wanted = chosen.wanted;
    found.tally = chosen.tally;
    found.complaint = reader->complaint();
    found.span_ns = chosen.last_ns - chosen.first_ns;
    return found;
}

std::string skips_text(const Tally& tally) {
    std::string text;
    for (std::size_t i = 0; i < skips_count; ++i) {
        if (tally.skipped[i] == 0) continue;
        if (!text.empty()) text += ", ";
        text += std::to_string(tally.skipped[i]) + " " + std::string(skip_texts[i].text);
    }
    return text;
}

}  // namespace replay
