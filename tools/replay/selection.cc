#include "tools/replay/selection.hh"

#include <algorithm>
#include <numeric>

#include "wire/checksum.hh"
#include "wire/write.hh"

namespace replay {
namespace {

using wire::DropReason;
using wire::Layer3;
using wire::Layer4;

constexpr std::size_t ip_len_max = 1500;

// Left to hardware by the machine that captured what it sent: only the pseudo-header is summed.
bool checksum_blank(wire::Bytes bytes, const wire::Frame& frame) {
    const std::uint16_t found = wire::load_be16(bytes.data() + frame.l4_offset + 6);
    const auto pseudo = static_cast<std::uint16_t>(~wire::fold_checksum(wire::sum_pseudo_header(
        frame.ip_source, frame.ip_destination, frame.protocol, frame.l4_length)));
    return found == pseudo;
}

std::optional<Skip> skip_of(DropReason reason, const wire::Frame& frame) {
    switch (reason) {
        case DropReason::none:
            return std::nullopt;
        case DropReason::unknown_ethertype:
        case DropReason::unknown_protocol:
        case DropReason::bad_arp:
            return Skip::not_udp;
        case DropReason::bad_ip_source:
            return Skip::no_client;
        default:
            return frame.fragment ? Skip::fragment : Skip::damaged;
    }
}

}  // namespace

std::uint64_t Tally::taken_total() const {
    return std::accumulate(taken.begin(), taken.end(), std::uint64_t{0});
}

std::optional<Request> Selector::select(const tools::CapturedFrame& captured, Tally& tally) const {
    Request request;
    if (const auto reason = reason_of(captured, request)) {
        tally.skip(*reason);
        return std::nullopt;
    }
    tally.taken[request.service] += 1;
    return request;
}

std::optional<Skip> Selector::reason_of(const tools::CapturedFrame& captured,
                                        Request& request) const {
    if (captured.cut) return Skip::cut;
    wire::Frame& frame = request.frame;
    if (const auto reason = skip_of(wire::parse_frame(captured.bytes, frame), frame)) return reason;
    if (frame.layer3 != Layer3::ipv4 && frame.layer3 != Layer3::ipv6) return Skip::not_udp;
    if (frame.fragment) {
        return frame.protocol == wire::protocol_udp ? Skip::fragment : Skip::not_udp;
    }
    if (frame.layer4 != Layer4::udp) return Skip::not_udp;
    if (const auto reason = find_service(request)) return reason;
    if (is_service_address(frame.ip_source)) return Skip::no_client;
    if (std::size_t{frame.end()} - frame.l3_offset > ip_len_max) return Skip::too_long;
    const bool whole = wire::l4_checksum_right(captured.bytes, frame);
    return whole || checksum_blank(captured.bytes, frame) ? std::nullopt
                                                          : std::optional(Skip::wrong_checksum);
}

// By address and port; or by port alone where only one service has it.
std::optional<Skip> Selector::find_service(Request& request) const {
    const wire::Frame& frame = request.frame;
    const bool by_port = wanted_.by_port || wanted_.port.has_value();
    bool port_known = false;
    std::optional<std::size_t> found;
    for (std::size_t i = 0; i < config_.services.size(); ++i) {
        const config::Service& service = config_.services[i];
        if (wanted_.service && *wanted_.service != i) continue;
        if (wanted_.port.value_or(service.port) != frame.destination_port) continue;
        for (const wire::IpAddress& address : service.addresses) {
            const bool fits = by_port ? address.is_v4() == frame.ip_destination.is_v4()
                                      : address == frame.ip_destination;
            if (!fits) continue;
            if (found) return Skip::other_address;  // of two services, by port: nobody's
            found = i;
            request.address = address;
        }
        port_known = true;
    }
    if (!found) return port_known ? Skip::other_address : Skip::other_port;
    request.service = *found;
    return std::nullopt;
}

bool Selector::is_service_address(const wire::IpAddress& address) const {
    return std::any_of(
        config_.services.begin(), config_.services.end(), [&](const config::Service& service) {
            return std::find(service.addresses.begin(), service.addresses.end(), address) !=
                   service.addresses.end();
        });
}

std::size_t Selector::write(wire::MutableBytes out, const Request& request, wire::Bytes captured,
                            std::uint16_t identification) const {
    const wire::Frame& frame = request.frame;
    wire::LinkHeader link;
    link.source = frame.source;
    link.vlan = frame.vlan;
    link.tagged = frame.tagged;
    return wire::write_udp(out, link, frame.ip_source, frame.source_port, request.address,
                           config_.services[request.service].port, identification,
                           frame.payload(captured));
}

}  // namespace replay
