#include "trainer/data/idx.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "trainer/data/mapped_file.h"

namespace ringmaster::trainer {
namespace {

constexpr uint32_t kImagesMagic = 0x00000803;
constexpr uint32_t kLabelsMagic = 0x00000801;

uint32_t ReadBigEndian(const uint8_t* bytes) {
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | uint32_t{bytes[3]};
}

void AppendBigEndian(uint32_t value, std::string& out) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}

// Returns the sizes behind the magic after checking that the file holds exactly what they say.
absl::StatusOr<std::vector<int64_t>> CheckHeader(const std::string& path, std::span<const uint8_t> bytes, uint32_t magic,
                                                 const char* what, size_t dimensions) {
  const size_t header = 4 * (1 + dimensions);
  if (bytes.size() < header) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: found %d bytes, expected IDX %s with a header of %d", path, bytes.size(), what, header));
  }
  if (ReadBigEndian(bytes.data()) != magic) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: found magic 0x%08x, expected IDX %s with magic 0x%08x (uncompressed)",
                                                      path, ReadBigEndian(bytes.data()), what, magic));
  }
  std::vector<int64_t> sizes;
  // 32-bit sizes: the product is taken in double first, so a garbage header cannot overflow.
  double product = 1;
  for (size_t i = 0; i < dimensions; ++i) {
    sizes.push_back(ReadBigEndian(bytes.data() + 4 * (1 + i)));
    product *= static_cast<double>(sizes.back());
  }
  if (product != static_cast<double>(bytes.size() - header) || product == 0) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: found %d bytes after the header, expected %.0f for its %d %s", path,
                                                      bytes.size() - header, product, sizes[0], what));
  }
  return sizes;
}

absl::Status WriteFile(const std::string& path, const std::string& header, const std::vector<uint8_t>& body) {
  errno = 0;
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(header.data(), static_cast<std::streamsize>(header.size()));
  out.write(reinterpret_cast<const char*>(body.data()), static_cast<std::streamsize>(body.size()));
  out.close();
  if (!out) return absl::ErrnoToStatus(errno == 0 ? EIO : errno, absl::StrCat("cannot write ", path));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LabelledImages> ReadIdx(const std::string& images_path, const std::string& labels_path) {
  RM_ASSIGN_OR_RETURN(const MappedFile images, MappedFile::Open(images_path));
  RM_ASSIGN_OR_RETURN(const MappedFile labels, MappedFile::Open(labels_path));
  RM_ASSIGN_OR_RETURN(const auto image_sizes, CheckHeader(images_path, images.bytes(), kImagesMagic, "images", 3));
  RM_ASSIGN_OR_RETURN(const auto label_sizes, CheckHeader(labels_path, labels.bytes(), kLabelsMagic, "labels", 1));
  if (image_sizes[0] != label_sizes[0]) {
    return absl::InvalidArgumentError(absl::StrFormat("%s: found %d labels, expected %d for the images of %s", labels_path,
                                                      label_sizes[0], image_sizes[0], images_path));
  }
  LabelledImages result{.height = image_sizes[1], .width = image_sizes[2], .pixels = {}, .labels = {}};
  result.pixels.assign(images.bytes().begin() + 16, images.bytes().end());
  result.labels.assign(labels.bytes().begin() + 8, labels.bytes().end());
  return result;
}

absl::Status WriteIdx(const LabelledImages& images, const std::string& images_path, const std::string& labels_path) {
  std::string header;
  AppendBigEndian(kImagesMagic, header);
  AppendBigEndian(static_cast<uint32_t>(images.count()), header);
  AppendBigEndian(static_cast<uint32_t>(images.height), header);
  AppendBigEndian(static_cast<uint32_t>(images.width), header);
  RM_RETURN_IF_ERROR(WriteFile(images_path, header, images.pixels));
  header.clear();
  AppendBigEndian(kLabelsMagic, header);
  AppendBigEndian(static_cast<uint32_t>(images.count()), header);
  return WriteFile(labels_path, header, images.labels);
}

}  // namespace ringmaster::trainer
