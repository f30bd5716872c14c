#include "wire/address.hh"

#include <cstdio>

#include <arpa/inet.h>

namespace wire {

std::string MacAddress::text() const {
    char buffer[18];
    std::snprintf(buffer, sizeof buffer, "%02x:%02x:%02x:%02x:%02x:%02x", octets[0], octets[1],
                  octets[2], octets[3], octets[4], octets[5]);
    return buffer;
}

std::optional<MacAddress> MacAddress::parse(std::string_view text) {
    const std::string whole(text);
    unsigned part[6];
    int used = 0;
    if (whole.size() != 17 ||
        std::sscanf(whole.c_str(), "%2x:%2x:%2x:%2x:%2x:%2x%n", &part[0], &part[1], &part[2],
                    &part[3], &part[4], &part[5], &used) != 6 ||
        used != 17) {
        return std::nullopt;
    }
    MacAddress mac;
    for (unsigned i = 0; i < 6; ++i) mac.octets[i] = static_cast<std::uint8_t>(part[i]);
    return mac;
}

std::string IpAddress::text() const {
    char buffer[INET6_ADDRSTRLEN];
    if (is_v4()) {
        inet_ntop(AF_INET, octets.data() + 12, buffer, sizeof buffer);
    } else {
        inet_ntop(AF_INET6, octets.data(), buffer, sizeof buffer);
    }
    return buffer;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
    const std::string whole(text);
    in_addr four{};
    if (inet_pton(AF_INET, whole.c_str(), &four) == 1) return v4(ntohl(four.s_addr));
    IpAddress six;
    if (inet_pton(AF_INET6, whole.c_str(), six.octets.data()) == 1) return six;
    return std::nullopt;
}

}  // namespace wire
