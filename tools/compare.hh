// Votes offline: the same requests, answered by several servers and captured at each, go through
// the real ballot and comparator. Requests are recognised across captures by what they ask and the
// how-manieth time they ask it, because clients' ports and ids differ between runs.
//
// Limits: UDP, unfragmented, the first datagram of a reply; exchanges_max requests a capture.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "voter/ballot.hh"
#include "voter/comparator.hh"
#include "voter/matcher.hh"

namespace tools {

constexpr std::size_t exchanges_max = 1'000'000;

struct CompareOptions {
    voter::Matcher matcher;
    voter::Comparator comparator;
    std::uint16_t port = 53;             // of the service
    std::uint8_t quorum = 0;             // 0: more than half of the captures
    std::size_t differences_max = 1000;  // described one by one; all are counted
    std::filesystem::path evidence;  // pcapng of every ballot with dissent or silence; empty: none
};

struct Difference {
    std::uint64_t time_ns = 0;  // of the request, in the first capture that has it
    std::uint64_t frame = 0;    // its number there
    std::string request;        // what is asked, as far as the protocol tells
    voter::Verdict verdict{};
    std::vector<std::size_t> silent;  // captures, by position
    struct Dissent {
        std::size_t capture = 0;
        std::uint64_t frame = 0;  // of the reply
        std::string where;        // the first difference to what was agreed
    };
    std::vector<Dissent> dissents;
};

struct CaptureSummary {
    std::string file;
    std::uint64_t requests = 0;
    std::uint64_t replies = 0;  // tied to a request
    std::uint64_t strays = 0;   // replies to nothing in this capture
    std::uint64_t dissents = 0;
    std::uint64_t silences = 0;
    std::string complaint;  // reading ended early: why
};

struct Comparison {
    std::uint64_t requests = 0;  // different ones, over all captures
    std::uint64_t agreed = 0;
    std::uint64_t split = 0;
    std::uint64_t expired = 0;  // fewer than a quorum answered
    std::vector<CaptureSummary> captures;
    std::vector<Difference> differences;
    std::uint64_t differences_unlisted = 0;
};

// 2 to voter::replicas_max captures.
tl::expected<Comparison, std::string> compare_captures(std::span<const std::filesystem::path> files,
                                                       const CompareOptions& options);

}  // namespace tools
