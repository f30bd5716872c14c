// [group.replica.xen]: what a domain of the Xen host boots and what it may have. Each
// [[group.replica.xen.variant]] starts as the replica's own image and replaces keys of it.
#include <algorithm>

#include "config/sections.hh"
#include "config/words.hh"

namespace config {

namespace {

constexpr std::size_t variants_max = 16;
constexpr std::size_t command_line_max = 1'024;  // XEN: MAX_GUEST_CMDLINE

// In the guest: absolute, or as in a replica's directory.
const PathRule in_guest{[](const std::string& path) {
                            return is_inner_path(path.starts_with('/') ? path.substr(1) : path);
                        },
                        "write a path in the guest, without \"..\""};

void read_file(Section& section, std::string_view key, const Pass& pass,
               std::filesystem::path& out) {
    std::string written;
    if (!section.text(key, written)) return;
    if (auto file = beside_config(section, {written, section.spot(key)}, pass)) out = *file;
}

void read_sha256(Section& section, std::string_view key, std::string& out) {
    if (!section.text(key, out)) return;
    std::transform(out.begin(), out.end(), out.begin(), [](char c) {
        return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    const bool digits = std::all_of(out.begin(), out.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    });
    if (digits && out.size() == 64) return;
    section.wrong(key, "is " + in_quotes(out) + ", which is no SHA-256",
                  "write 64 hexadecimal digits, as sha256sum prints them");
}

void read_image(Section& section, const Pass& pass, XenImage& image) {
    read_file(section, "kernel", pass, image.kernel);
    read_sha256(section, "kernel_sha256", image.kernel_sha256);
    read_file(section, "ramdisk", pass, image.ramdisk);
    read_sha256(section, "ramdisk_sha256", image.ramdisk_sha256);
    read_file(section, "disk", pass, image.disk);
    read_sha256(section, "disk_sha256", image.disk_sha256);
    section.choice("type", {{"pv", DomainType::pv}, {"pvh", DomainType::pvh}}, image.type);
    section.number("memory_mb", 80, 1'048'576, image.memory_mb);  // Linux does not fit in 64
    section.number("vcpus", 1, 64, image.vcpus);
    section.flag("scatter_gather", image.scatter_gather);
    if (section.text("command_line", image.command_line) &&
        image.command_line.size() >= command_line_max) {
        section.wrong("command_line", "has " + counted(image.command_line.size(), "character"),
                      "write at most " + std::to_string(command_line_max - 1));
    }
    if (section.has("arguments")) image.arguments.clear();
    for (auto& argument : section.arguments("arguments", command_words_max)) {
        if (argument.value.find('\n') != std::string::npos) {
            section.wrong(argument.spot, "has a line end in it", "write it in one line");
        }
        image.arguments.push_back(std::move(argument.value));
    }
    if (section.has("files")) image.files.clear();
    if (section.has("copies")) image.copies.clear();
    read_files(section, pass, in_guest, image.files, image.copies);
}

void check_cap(Section& section, const XenReplica& replica) {
    std::uint32_t vcpus = 0;
    for (const XenImage& image : replica.images) vcpus = std::max(vcpus, image.vcpus);
    if (replica.cap_percent <= 100 * vcpus) return;
    section.wrong("cap_percent",
                  "is " + std::to_string(replica.cap_percent) + ", more than its " +
                      counted(vcpus, "vcpu") + " can use",
                  "write at most " + std::to_string(100 * vcpus) + ", or leave it out");
}

// An image that was replaced, but not its hash, would never be built.
void check_pair(Section& section, const char* file, const char* hash) {
    if (section.has(file) == section.has(hash)) return;
    const bool lacks_hash = section.has(file);
    section.wrong(lacks_hash ? hash : file, "is missing",
                  std::string("write both ") + file + " and " + hash + ", or neither");
}

}  // namespace

XenReplica read_xen(Section& section, Pass& pass) {
    XenReplica replica;
    section.required("kernel", "write the kernel to boot, as guest/image/build prints it");
    section.required("kernel_sha256", "write the kernel's SHA-256, as sha256sum prints it");
    section.required("ramdisk", "write the ramdisk to boot, as guest/image/build prints it");
    section.required("ramdisk_sha256", "write the ramdisk's SHA-256, as sha256sum prints it");
    XenImage& own = replica.images.emplace_back();
    read_image(section, pass, own);
    check_pair(section, "disk", "disk_sha256");
    read_cpus(section, 0, replica.cpus);  // a Dom0 need not have all of the machine's
    section.number("cap_percent", 0, 6'400, replica.cap_percent);
    section.number("health_timeout_ms", 100, 600'000, replica.health_timeout_ms);
    for (Section& variant : section.sections("variant", variants_max)) {
        XenImage image = replica.images.front();
        read_image(variant, pass, image);
        check_pair(variant, "kernel", "kernel_sha256");
        check_pair(variant, "ramdisk", "ramdisk_sha256");
        check_pair(variant, "disk", "disk_sha256");
        variant.finish();
        replica.images.push_back(std::move(image));
    }
    check_cap(section, replica);
    section.finish();
    return replica;
}

}  // namespace config
